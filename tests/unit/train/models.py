"""Tiny random models of several architectures, and pairs of random tokens."""

from __future__ import annotations

import copy

import torch
from transformers import AutoModelForCausalLM as Models
from transformers import (
    Cohere2Config,
    Gemma2Config,
    Gemma3TextConfig,
    GraniteConfig,
    Llama4TextConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
)

from lidr.components.shared.forward.tokens import TokenPair

VOCABULARY = 61

_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

_BEYOND_THE_TRIAL = 20
"""Tokens: more than a trial pair has, and fewer than the longest of `random_pairs`."""

FLAT: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**_SIZES),
    "llama, tied": LlamaConfig(**_SIZES, tie_word_embeddings=True),
    "llama, dropout": LlamaConfig(**_SIZES, attention_dropout=0.5),
    "mistral": MistralConfig(**_SIZES, sliding_window=None),
    "mistral, window": MistralConfig(**_SIZES, sliding_window=9),
    "qwen2": Qwen2Config(**_SIZES),
    "qwen3": Qwen3Config(**_SIZES),
    "gemma3": Gemma3TextConfig(
        **_SIZES,
        sliding_window=9,
        layer_types=["sliding_attention", "full_attention"],
        final_logit_softcapping=3.0,
    ),
    "granite": GraniteConfig(
        **{k: v for k, v in _SIZES.items() if k != "head_dim"}, logits_scaling=4.0
    ),
    "cohere2": Cohere2Config(**_SIZES, logit_scale=0.25, sliding_window=9),
    "mixtral": MixtralConfig(**_SIZES, num_local_experts=4, sliding_window=None),
    "qwen3 moe": Qwen3MoeConfig(
        **_SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16
    ),
}
"""Models whose attention works by segment."""


def longrope(switch: int, **settings: object) -> Phi3Config:
    """Return a Phi-3 whose rotary embedding takes its long factors above so many tokens."""
    sizes = {key: value for key, value in _SIZES.items() if key != "head_dim"}
    return Phi3Config(
        **{**sizes, "original_max_position_embeddings": switch, **settings},
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10_000.0,
            "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [1.0, 4.0, 16.0, 64.0],
            "original_max_position_embeddings": switch,
        },
    )


APART: dict[str, PretrainedConfig] = {"phi3, longrope": longrope(20)}
"""Models whose rotary embedding depends on how long a text is: each side stands by itself."""

PADDED: dict[str, PretrainedConfig] = {
    "gemma2": Gemma2Config(**_SIZES, attn_logit_softcapping=2.0),
    "qwen3 next": Qwen3NextConfig(
        **_SIZES,
        layer_types=["linear_attention", "full_attention"],
        linear_num_value_heads=2,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=0,
        mlp_only_layers=[0, 1],
    ),
    "qwen2 moe, window": Qwen2MoeConfig(
        **_SIZES,
        use_sliding_window=True,
        sliding_window=_BEYOND_THE_TRIAL,
        layer_types=["sliding_attention", "full_attention"],
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "llama4, chunks": Llama4TextConfig(
        **_SIZES,
        attention_chunk_size=_BEYOND_THE_TRIAL,
        no_rope_layers=[1, 0],
        moe_layers=[],
        intermediate_size_mlp=48,
    ),
}
"""Models whose attention caps its scores, carries a state from token to token, or is restricted by
its mask alone."""


def random_model(config: PretrainedConfig, dtype: torch.dtype = torch.float32):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Models.from_config(copy.deepcopy(config)).to(dtype)
    if dtype is torch.float64 and "num_experts_per_tok" in config.to_dict():
        model.set_experts_implementation("eager")  # the others know no float64
    return model


def random_pairs(count: int = 5) -> list[TokenPair]:
    generator = torch.Generator().manual_seed(3)

    def tokens(low: int, high: int) -> list[int]:
        length = int(torch.randint(low, high, (1,), generator=generator))
        return torch.randint(3, VOCABULARY, (length,), generator=generator).tolist()

    return [
        TokenPair(f"k{n}", f"p{n}", "es", tokens(1, 14), tokens(1, 25), tokens(1, 25))
        for n in range(count)
    ]
