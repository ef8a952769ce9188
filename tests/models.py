"""A tiny random chat model for tests: about 100,000 parameters, made in a fraction of a second."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

SENTENCES = (
    "Nina has 4 books. Nina finds 2. Then Nina loses 3. How many books are left?",
    "At first 4 books. After that 4 + 2 = 6. Finally 6 - 3 = 3 books.",
    "Nina tiene 4 libros. Nina encuentra 2. Luego Nina pierde 3.",
    "Nina hat 4 Bücher. Nina findet 2. Dann verliert Nina 3.",
    "Nina a 4 livres. Nina trouve 2. Puis Nina perd 3.",
    "Translate from English into Spanish. <sentence> </sentence> <translated> </translated>",
)

END = "<|end|>"
PAD = "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '" + END + "' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def safetensors(size: int = 8) -> bytes:
    """Return a whole safetensors file of one tensor of bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """Write a random LlamaForCausalLM and its tokenizer into `folder` and return the folder.

    The same seed gives the same bytes.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    ends = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,  # vLLM on a CPU wants heads of 32 or more
        max_position_embeddings=256,
        tie_word_embeddings=True,
        **ends,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(do_sample=False, **ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def shaped_model(folder: Path, config: Any, seed: int = 0, dtype: str = "float32") -> Path:
    """Write a random model of a configuration with the tiny tokenizer; return the folder.

    Args:
        folder: where to.
        config: of transformers; its vocabulary and special tokens become the tokenizer's.
        seed: of the weights.
        dtype: of the weights in the files.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    config = copy.deepcopy(config)
    config.vocab_size = len(tokenizer)
    config.bos_token_id = None
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_tokenizer():
    """Return a byte-level BPE tokenizer with special tokens and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        min_frequency=1,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )
