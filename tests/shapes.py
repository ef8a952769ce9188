"""Tokenizers and chat templates in the shapes of model families: what is special, what is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.models import SENTENCES

_LOOP = "{%- for message in messages -%}"
_GO_ON = "{%- endfor -%}{%- if add_generation_prompt -%}"


@dataclass(frozen=True)
class Shape:
    """What of a family decides how its chats are written.

    Attributes:
        template: its chat template.
        special: added tokens that are special.
        plain: added tokens that are not.
        eos: the token that the tokenizer names; "" for none.
        ends: tokens that generation_config.json names.
        end: what ends an assistant's turn, up to and with the token that generation stops at.
        word: whether words are SentencePiece's, with a space before the first.
    """

    template: str
    special: tuple[str, ...]
    end: str
    plain: tuple[str, ...] = ()
    eos: str = ""
    ends: tuple[str, ...] = field(default=())
    word: bool = False


CHATML = (
    _LOOP
    + "{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' -}}"
    + _GO_ON
    + "{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
_TOOL_CALL = ("<tool_call>", "</tool_call>")
_TOOLS = "{%- if tools -%}{{- 'Call them in <tool_call> and </tool_call>.' -}}{%- endif -%}"
GEMMA = (
    "{{- '<bos>' -}}"
    "{%- if messages[0].role == 'system' -%}{{- raise_exception('System role not supported') -}}"
    "{%- endif -%}" + _LOOP + "{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{- raise_exception('Conversation roles must alternate') -}}{%- endif -%}"
    "{%- set role = 'model' if message.role == 'assistant' else message.role -%}"
    "{{- '<start_of_turn>' + role + '\n' + message.content | trim + '<end_of_turn>\n' -}}"
    + _GO_ON
    + "{{- '<start_of_turn>model\n' -}}{%- endif -%}"
)
LLAMA3 = (
    "{{- '<|begin_of_text|>' -}}"
    + _LOOP
    + "{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n'"
    " + message.content | trim + '<|eot_id|>' -}}"
    + _GO_ON
    + "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}"
)
LLAMA32 = (
    "{%- if not date_string is defined -%}{%- if strftime_now is defined -%}"
    "{%- set date_string = strftime_now('%d %b %Y') -%}"
    "{%- else -%}{%- set date_string = '26 Jul 2024' -%}{%- endif -%}{%- endif -%}"
    "{{- '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: '"
    " + date_string + '<|eot_id|>' -}}" + LLAMA3.removeprefix("{{- '<|begin_of_text|>' -}}")
)
LLAMA2 = (
    "{{- '<s>' -}}"
    + _LOOP
    + "{%- if message.role == 'user' -%}{{- '[INST] ' + message.content | trim + ' [/INST]' -}}"
    "{%- else -%}{{- ' ' + message.content | trim + ' </s>' -}}{%- endif -%}{%- endfor -%}"
)
PHI35 = (
    _LOOP
    + "{{- '<|' + message.role + '|>\n' + message.content + '<|end|>\n' -}}"
    + _GO_ON
    + "{{- '<|assistant|>\n' -}}{%- else -%}{{- '<|endoftext|>' -}}{%- endif -%}"
)
GLM4 = (
    "{{- '[gMASK]<sop>' -}}"
    + _LOOP
    + "{{- '<|' + message.role + '|>\n' + message.content -}}"
    + _GO_ON
    + "{{- '<|assistant|>\n' -}}{%- endif -%}"
)
COHERE = (
    "{{- '<BOS>' -}}" + _LOOP + "{%- if message.role == 'assistant' -%}"
    "{{- '<|START|><|CHATBOT|><|START_RESPONSE|>' + message.content"
    " + '<|END_RESPONSE|><|END|>' -}}"
    "{%- else -%}{{- '<|START|><|' + message.role + '|>' + message.content + '<|END|>' -}}"
    "{%- endif -%}" + _GO_ON + "{{- '<|START|><|CHATBOT|>' -}}{%- endif -%}"
)
QWEN3 = (
    _LOOP + "{%- set content = message.content.split('</think>')[-1].lstrip('\n') -%}"
    "{%- if message.role == 'assistant' and loop.last -%}"
    "{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' + content + '<|im_end|>\n' -}}"
    "{%- else -%}"
    "{{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' -}}{%- endif -%}"
    + _GO_ON
    + "{{- '<|im_start|>assistant\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}{%- endif -%}"
)
R1 = (
    "{{- '<bos>' -}}" + _LOOP + "{%- set content = message.content.split('</think>')[-1] -%}"
    "{%- if message.role == 'user' -%}{{- '<|User|>' + content -}}"
    "{%- else -%}{{- '<|Assistant|>' + content + '<eos>' -}}{%- endif -%}"
    + _GO_ON
    + "{{- '<|Assistant|><think>\n' -}}{%- endif -%}"
)
V31 = (
    "{%- if not thinking is defined -%}{%- set thinking = false -%}{%- endif -%}{{- '<bos>' -}}"
    + _LOOP
    + "{%- if message.role == 'user' -%}{{- '<|User|>' + message.content -}}"
    "{%- else -%}{{- '<|Assistant|></think>' + message.content + '<eos>' -}}{%- endif -%}"
    + _GO_ON
    + "{{- '<|Assistant|>' + ('<think>' if thinking else '</think>') -}}{%- endif -%}"
)
GLM45 = (
    "{{- '[gMASK]<sop>' -}}" + _LOOP + "{%- if message.role == 'assistant' -%}"
    "{{- '<|assistant|>\n<think></think>\n' + message.content | trim -}}"
    "{%- else -%}{{- '<|' + message.role + '|>\n' + message.content -}}{%- endif -%}"
    + _GO_ON
    + "{{- '<|assistant|>' -}}"
    "{%- if enable_thinking is defined and not enable_thinking -%}{{- '\n<think></think>' -}}"
    "{%- endif -%}{%- endif -%}"
)
GPT_OSS = (
    "{{- '<|start|>system<|message|>Reasoning: ' + (reasoning_effort or 'medium')"
    " + '. Date: ' + strftime_now('%Y-%m-%d') + '<|end|>' -}}"
    + _LOOP
    + "{%- if message.role == 'assistant' -%}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + message.content -}}"
    "{{- '<|return|>' if loop.last else '<|end|>' -}}"
    "{%- else -%}"
    "{%- set role = 'developer' if message.role == 'system' else message.role -%}"
    "{{- '<|start|>' + role + '<|message|>' + message.content + '<|end|>' -}}{%- endif -%}"
    + _GO_ON
    + "{{- '<|start|>assistant' -}}{%- endif -%}"
)

_IM = ("<|im_start|>", "<|im_end|>")
_GEMMA = ("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
_LLAMA3 = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")
_PHI = ("<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_HARMONY = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>")

SHAPES = {
    "gemma-3": Shape(GEMMA, _GEMMA, "<end_of_turn>", eos="<eos>", ends=("<eos>", "<end_of_turn>")),
    "gemma-2": Shape(GEMMA, _GEMMA, "<end_of_turn>", eos="<eos>", ends=("<eos>",)),
    "llama-3": Shape(LLAMA3, (*_LLAMA3, "<|eot_id|>"), "<|eot_id|>", eos="<|end_of_text|>"),
    "llama-3.2": Shape(
        LLAMA32,
        (*_LLAMA3, "<|eot_id|>"),
        "<|eot_id|>",
        eos="<|eot_id|>",
        ends=("<|end_of_text|>", "<|eot_id|>"),
    ),
    "llama-2": Shape(LLAMA2, ("<s>", "</s>"), " </s>", eos="</s>", ends=("</s>",), word=True),
    "chatml": Shape(CHATML, ("<|endoftext|>",), "<|im_end|>", plain=_IM, eos="<|endoftext|>"),
    "qwen-2.5": Shape(
        _TOOLS + CHATML,
        ("<|endoftext|>", *_IM),
        "<|im_end|>",
        plain=_TOOL_CALL,
        eos="<|im_end|>",
        ends=("<|endoftext|>",),
    ),
    "phi-3.5": Shape(PHI35, _PHI, "<|end|>", eos="<|endoftext|>", ends=("<|end|>",)),
    "phi-3.5 without generation config": Shape(PHI35, _PHI, "<|end|>", eos="<|endoftext|>"),
    "glm-4": Shape(
        GLM4,
        ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"),
        "<|user|>",
        eos="<|endoftext|>",
        ends=("<|endoftext|>", "<|user|>"),
    ),
    "cohere": Shape(
        COHERE,
        (
            *("<BOS>", "<|START|>", "<|END|>", "<|CHATBOT|>", "<|user|>", "<|system|>"),
            *("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
        ),
        "<|END_RESPONSE|><|END|>",
        eos="<|END|>",
        ends=("<|END|>",),
    ),
    "qwen-3": Shape(
        _TOOLS + QWEN3,
        ("<|endoftext|>", *_IM),
        "<|im_end|>",
        plain=("<think>", "</think>", *_TOOL_CALL),
        eos="<|im_end|>",
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
    "deepseek-r1": Shape(
        R1,
        ("<bos>", "<eos>", "<|User|>", "<|Assistant|>"),
        "<eos>",
        plain=("<think>", "</think>"),
        eos="<eos>",
    ),
    "deepseek-v3.1": Shape(
        V31,
        ("<bos>", "<eos>", "<|User|>", "<|Assistant|>"),
        "<eos>",
        plain=("<think>", "</think>"),
        eos="<eos>",
    ),
    "glm-4.5": Shape(
        GLM45,
        ("<|endoftext|>", "[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>"),
        "<|user|>",
        plain=("<think>", "</think>"),
        eos="<|endoftext|>",
        ends=("<|endoftext|>", "<|user|>"),
    ),
    "qwen-3 instruct": Shape(
        CHATML,
        ("<|endoftext|>", *_IM),
        "<|im_end|>",
        plain=("<think>", "</think>"),
        eos="<|im_end|>",
    ),
    "gpt-oss": Shape(
        GPT_OSS,
        ("<|endoftext|>", *_HARMONY),
        "<|return|>",
        eos="<|return|>",
        ends=("<|return|>", "<|endoftext|>", "<|call|>"),
    ),
    "no eos": Shape(CHATML, _IM, "<|im_end|>"),
}


def shaped_tokenizer(shape: Shape):
    """Return a tokenizer of a shape."""
    from tokenizers import (
        AddedToken,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE(unk_token=None))
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    if shape.word:  # as SentencePiece's models come out of transformers' converter
        core.normalizer = normalizers.Sequence(
            [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
        )
        core.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=420,
            initial_alphabet=[chr(n) for n in range(32, 127)] + ["\u2581", "\n"],
            show_progress=False,
        )
    else:
        core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        core.decoder = decoders.ByteLevel()
    core.train_from_iterator(SENTENCES, trainer)
    core.add_tokens([AddedToken(t, special=True, normalized=False) for t in shape.special])
    core.add_tokens([AddedToken(t, normalized=False) for t in shape.plain])
    named = {"eos_token": shape.eos} if shape.eos else {}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, clean_up_tokenization_spaces=False, **named
    )
    tokenizer.chat_template = shape.template
    return tokenizer


def control_ids(tokenizer) -> set[int]:
    """Return the ids of special tokens, and of other added tokens that the template names."""
    added = tokenizer.added_tokens_decoder.items()
    return {n for n, token in added if token.special or str(token) in tokenizer.chat_template}


def ends_of(shape: Shape, tokenizer) -> set[int]:
    """Return the ids that a shape's generation_config.json names."""
    return set(tokenizer.convert_tokens_to_ids(list(shape.ends)))


def write_model(folder: Path, shape: Shape, config, tokenizer=None, seed: int = 0) -> Path:
    """Write a random model of a shape, with all that lies beside its weights, and return `folder`.

    Args:
        folder: where.
        shape: how its chats are written.
        config: transformers' configuration, of as many embeddings as the tokenizer has entries.
        tokenizer: another one than the shape's.
        seed: of its weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    tokenizer = tokenizer or shaped_tokenizer(shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    ends = sorted(ends_of(shape, tokenizer))
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=ends or None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def gemma3_with_images(vocabulary: int):
    """Return a small Gemma 3 that reads images."""
    from transformers import Gemma3Config

    text = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    return Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=4,
        initializer_range=0.2,
        eos_token_id=None,
    )
