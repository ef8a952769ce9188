"""The zoo: a table of model shapes, each with its architecture, tokenizer, template and end token.

A shape has what makes its family differ from others and nothing else; weights are random. What is
written here about a family is the truth that lidr's decisions are held against: it comes from the
families' own files, not from lidr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.zoo.tokenizers import tokenizer_of

TEMPLATES = Path(__file__).parent / "templates"

_SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,  # vLLM on a CPU wants heads of 32 or more
    "max_position_embeddings": 512,
    "initializer_range": 0.1,
    "tie_word_embeddings": False,
}
_EXPERTS = {"num_experts_per_tok": 2, "output_router_logits": False}
_WINDOW = {"sliding_window": 24}
_LAYERS = {"layer_types": ["sliding_attention", "full_attention"]}
_LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_value_heads": 2,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
_LONGROPE = {
    "original_max_position_embeddings": 96,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0 + 0.05 * n for n in range(16)],
        "long_factor": [1.5 + 0.5 * n for n in range(16)],
        "original_max_position_embeddings": 96,
    },
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}


@dataclass(frozen=True)
class Shape:
    """One family's shape.

    Attributes:
        name: what a table calls it.
        model: prefix of transformers' configuration class.
        template: name of the chat template's file.
        end: the token that ends an assistant's turn.
        stops: what `generation_config.json` names as end tokens, where it names any.
        special: added tokens that are marked special in tokenizer.json.
        plain: added tokens that are not.
        named: tokens that tokenizer_config.json names, besides `eos`.
        eos: of tokenizer_config.json and config.json; "" where there is none.
        kind: of tokenizer, see `tokenizer_of`.
        greedy: whether added tokens swallow the white space behind them.
        config: settings of the architecture, over the common ones.
        drops: common settings that the architecture does not know.
        writes: what the model writes for an answer `{}`, end token included.
        thinks: what it writes where it thinks first: `{thought}`, then the answer `{}`.
        opened: whether the template begins a thought that nothing switches off.
        beyond: special tokens behind all others that the model has no embeddings for.
        refused: part of the reason for which the shape is refused; "" where it is exact.
        vllm: whether vLLM's CPU build can load it.
    """

    name: str
    model: str
    template: str
    end: str
    special: tuple[str, ...]
    eos: str = ""
    stops: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    named: Mapping[str, str] = field(default_factory=dict)
    kind: str = "bytes"
    greedy: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    drops: tuple[str, ...] = ()
    writes: str = ""
    thinks: str = ""
    opened: bool = False
    beyond: tuple[str, ...] = ()
    refused: str = ""
    vllm: bool = True

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, chat template included."""
        template = (TEMPLATES / f"{self.template}.jinja").read_text("utf-8")
        named = {f"{name}_token": token for name, token in self.named.items()}
        if self.eos:
            named["eos_token"] = self.eos
        return tokenizer_of(
            self.kind, self.special, self.plain, template, named, self.greedy, self.beyond
        )

    def written(self, answer: str, thought: str = "") -> str:
        """Return what a model of this shape writes for an answer, in its own template's form."""
        form = self.thinks if thought else self.writes or f"{{}}{self.end}"
        return form.replace("{thought}", thought).replace("{}", answer)

    def build(self, folder: Path, seed: int = 0, **config: Any) -> Path:
        """Write a random model of this shape and its tokenizer, and return the folder.

        Args:
            folder: for the files.
            seed: of the weights.
            config: settings of the architecture that differ.
        """
        import torch
        from transformers import AutoModelForCausalLM

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(self.configuration(**config))
            _liven(model)
        self._set_generation(model)
        model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        return folder

    def configuration(self, **config: Any) -> Any:
        """Return transformers' configuration of the shape."""
        import transformers

        text = self._text_settings() | config
        kind = getattr(transformers, f"{self.model}Config")
        if not hasattr(kind, "sub_configs") or "text_config" not in kind.sub_configs:
            return kind(**text)
        ids = {
            "image_token_index": self.tokenizer.convert_tokens_to_ids(_SOFT),
            "mm_tokens_per_image": 4,
        }
        return kind(text_config=text, vision_config=_VISION, **ids)

    def _text_settings(self) -> dict[str, Any]:
        common = {key: value for key, value in _SIZES.items() if key not in self.drops}
        tokenizer = self.tokenizer
        return {
            "vocab_size": len(tokenizer) - len(self.beyond),
            **common,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **self.config,
        }

    def _set_generation(self, model: Any) -> None:
        from transformers import GenerationConfig

        tokenizer = self.tokenizer
        ends = tokenizer.convert_tokens_to_ids(list(self.stops)) or tokenizer.eos_token_id
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
        )


def _liven(model: Any) -> None:
    """Give parameters that start at zero, or at one, values that make a difference."""
    import torch

    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            noise = torch.randn(parameter.shape) * (0.1 if "norm" in name else 0.05)
            parameter.data += noise.to(parameter.dtype)
        elif not parameter.any():
            parameter.data.normal_(std=0.1)


_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_QWEN = {"special": _CHATML, "eos": "<|im_end|>", "stops": ("<|im_end|>", "<|endoftext|>")}
_QWEN["end"] = "<|im_end|>"
_QWEN["named"] = {"pad": "<|endoftext|>"}
_THINK = {"plain": ("<think>", "</think>")}
_LLAMA3 = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
)
_LLAMA2 = {"special": ("<unk>", "<s>", "</s>"), "named": {"bos": "<s>", "unk": "<unk>"}}
_LLAMA2 |= {"eos": "</s>", "end": "</s>", "kind": "llama"}
_GEMMA = {
    "special": ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"),
    "named": {"bos": "<bos>", "pad": "<pad>", "unk": "<unk>"},
    "eos": "<eos>",
    "stops": ("<eos>", "<end_of_turn>"),
    "end": "<end_of_turn>",
    "kind": "gemma",
}
_SOFT = "<image_soft_token>"
_GEMMA3 = _GEMMA | {
    "special": (*_GEMMA["special"], "<start_of_image>", "<end_of_image>"),
    "config": _WINDOW | _LAYERS | {"query_pre_attn_scalar": 32},
    "template": "gemma3",
}
_PHI = {
    "special": (
        *("<unk>", "<s>", "</s>", "<|endoftext|>"),
        *("<|assistant|>", "<|system|>", "<|end|>", "<|user|>"),
    ),
    "named": {"bos": "<s>", "unk": "<unk>", "pad": "<|endoftext|>"},
    "eos": "<|endoftext|>",
    "stops": ("<|endoftext|>", "<|assistant|>", "<|end|>"),
    "end": "<|end|>",
    "kind": "llama",
    "greedy": True,
    "drops": ("head_dim",),
}
_COHERE = {
    "special": (
        *("<PAD>", "<BOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
        *("<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>"),
    ),
    "named": {"bos": "<BOS_TOKEN>", "pad": "<PAD>"},
    "eos": "<|END_OF_TURN_TOKEN|>",
    "end": "<|END_OF_TURN_TOKEN|>",
    "drops": ("head_dim",),
}
_HARMONY = (
    *("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>"),
    *("<|start|>", "<|end|>", "<|message|>", "<|call|>"),
)

SHAPES = (
    Shape("llama-2", "Llama", "llama2", **_LLAMA2, writes=" {} </s>"),
    Shape(
        "llama-3",
        "Llama",
        "llama3",
        "<|eot_id|>",
        _LLAMA3,
        eos="<|eot_id|>",
        stops=("<|end_of_text|>", "<|eot_id|>"),
        named={"bos": "<|begin_of_text|>"},
    ),
    Shape(
        "llama-3, eos of the base model",
        "Llama",
        "llama3",
        "<|eot_id|>",
        _LLAMA3,
        eos="<|end_of_text|>",
        stops=("<|end_of_text|>", "<|eot_id|>"),
        named={"bos": "<|begin_of_text|>"},
    ),
    Shape(
        "llama-3.2, tied, dated",
        "Llama",
        "llama32",
        "<|eot_id|>",
        _LLAMA3,
        eos="<|eot_id|>",
        stops=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        named={"bos": "<|begin_of_text|>"},
        config={
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
    ),
    Shape("qwen-2", "Qwen2", "qwen2", **_QWEN, drops=("head_dim",)),
    Shape(
        "qwen-2.5, tied",
        "Qwen2",
        "qwen2",
        **_QWEN,
        drops=("head_dim",),
        config={"tie_word_embeddings": True},
    ),
    Shape(
        "qwen-3, thinking",
        "Qwen3",
        "qwen3",
        **_QWEN,
        **_THINK,
        thinks="<think>\n{thought}\n</think>\n\n{}<|im_end|>",
    ),
    Shape(
        "qwen-3.5, linear attention, thinking",
        "Qwen3_5Text",
        "qwen35",
        vllm=False,
        **_QWEN,
        **_THINK,
        config=_LINEAR,
        thinks="<think>\n{thought}\n</think>\n\n{}<|im_end|>",
    ),
    Shape(
        "deepseek-r1, distilled",
        "Qwen2",
        "deepseek_r1",
        "<｜end▁of▁sentence｜>",
        ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        eos="<｜end▁of▁sentence｜>",
        plain=("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"),
        named={"bos": "<｜begin▁of▁sentence｜>", "pad": "<｜end▁of▁sentence｜>"},
        drops=("head_dim",),
        writes="\n</think>\n\n{}<｜end▁of▁sentence｜>",
        thinks="{thought}\n</think>\n\n{}<｜end▁of▁sentence｜>",
        opened=True,
    ),
    Shape(
        "gemma-2",
        "Gemma2",
        "gemma2",
        **_GEMMA,
        config=_WINDOW
        | {"query_pre_attn_scalar": 32, "attn_logit_softcapping": 2.0}
        | {"final_logit_softcapping": 3.0, "tie_word_embeddings": True},
    ),
    Shape("gemma-3, text, an entry more", "Gemma3Text", beyond=(_SOFT,), **_GEMMA3),
    Shape(
        "gemma-3, multimodal",
        "Gemma3",
        **_GEMMA3 | {"special": (*_GEMMA3["special"], _SOFT)},
        vllm=False,  # it looks for torchvision
    ),
    Shape("mistral, window", "Mistral", "mistral", **_LLAMA2, config=_WINDOW, writes=" {}</s>"),
    Shape(
        "mistral, tekken",
        "Mistral",
        "tekken",
        "</s>",
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
        eos="</s>",
        named={"bos": "<s>", "unk": "<unk>"},
        config={"sliding_window": None},
    ),
    Shape(
        "mixtral",
        "Mixtral",
        "mistral",
        **_LLAMA2,
        config=_EXPERTS | {"num_local_experts": 4},
        writes=" {}</s>",
    ),
    Shape(
        "qwen-3, experts",
        "Qwen3Moe",
        "qwen3",
        **_QWEN,
        **_THINK,
        config=_EXPERTS | {"num_experts": 4, "moe_intermediate_size": 48},
        thinks="<think>\n{thought}\n</think>\n\n{}<|im_end|>",
    ),
    Shape("phi-3", "Phi3", "phi3", **_PHI, config={"sliding_window": 40}),
    Shape("phi-3.5, longrope", "Phi3", "phi3", **_PHI, config=_LONGROPE),
    Shape(
        "granite, dated",
        "Granite",
        "granite",
        "<|end_of_text|>",
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        eos="<|end_of_text|>",
        named={"bos": "<|end_of_text|>", "pad": "<|end_of_text|>"},
        drops=("head_dim",),
        config={
            "logits_scaling": 4.0,
            "embedding_multiplier": 6.0,
            "residual_multiplier": 0.4,
            "attention_multiplier": 0.2,
        },
    ),
    Shape("cohere", "Cohere", "cohere", **_COHERE, config={"logit_scale": 0.25}),
    Shape(
        "cohere 2, window", "Cohere2", "cohere", **_COHERE, config=_WINDOW | {"logit_scale": 0.25}
    ),
    Shape(
        "glm-4",
        "Glm4",
        "glm4",
        "<|user|>",
        (
            *("<|endoftext|>", "[gMASK]", "<sop>"),
            *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
        ),
        eos="<|endoftext|>",
        stops=("<|endoftext|>", "<|user|>", "<|observation|>"),
        named={"pad": "<|endoftext|>"},
        writes="\n{}<|user|>",
    ),
    Shape(
        "olmo-2",
        "Olmo2",
        "olmo2",
        "<|endoftext|>",
        ("<|endoftext|>", "<|pad|>"),
        eos="<|endoftext|>",
        named={"bos": "<|endoftext|>", "pad": "<|pad|>"},
        drops=("head_dim",),
    ),
    Shape(
        "smollm2",
        "Llama",
        "smollm2",
        "<|im_end|>",
        _CHATML,
        eos="<|im_end|>",
        named={"bos": "<|im_start|>", "pad": "<|im_end|>"},
        config={"tie_word_embeddings": True},
    ),
    Shape(
        "chatml, plain end token",
        "Llama",
        "chatml",
        "<|im_end|>",
        ("<|endoftext|>",),
        eos="<|endoftext|>",
        plain=("<|im_start|>", "<|im_end|>"),
        stops=("<|endoftext|>", "<|im_end|>"),
        named={"pad": "<|endoftext|>"},
    ),
    Shape(
        "gpt-oss",
        "GptOss",
        "gpt_oss",
        "<|return|>",
        _HARMONY,
        eos="<|return|>",
        stops=("<|return|>", "<|endoftext|>", "<|call|>"),
        named={"bos": "<|startoftext|>", "pad": "<|endoftext|>"},
        config=_EXPERTS | _WINDOW | _LAYERS | {"num_local_experts": 4, "experts_per_token": 2},
        writes="<|channel|>final<|message|>{}<|return|>",
        thinks="<|channel|>analysis<|message|>{thought}<|end|>"
        "<|start|>assistant<|channel|>final<|message|>{}<|return|>",
    ),
    Shape(
        "bloom",
        "Bloom",
        "plain",
        "</s>",
        ("<unk>", "<s>", "</s>", "<pad>"),
        eos="</s>",
        named={"bos": "<s>", "pad": "<pad>", "unk": "<unk>"},
        config={"n_layer": 2, "n_head": 2, "tie_word_embeddings": True},
        drops=tuple(_SIZES.keys() - {"hidden_size", "initializer_range", "tie_word_embeddings"}),
    ),
    Shape(
        "nothing ends a turn",
        "Llama",
        "bare",
        "",
        ("<unk>",),
        named={"unk": "<unk>"},
        refused="nothing ends the model's turns",
    ),
)

BY_NAME = {shape.name: shape for shape in SHAPES}
EXACT = [shape for shape in SHAPES if not shape.refused]
