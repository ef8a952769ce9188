"""Whether a model's attention is a softmax over causal scores: then pairs share a row in training.

It is tried, not guessed: a model without memory for its weights is run, and its attention layers
say what they ask for (`transformers.AttentionInterface`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PROBE = "lidr_probe"

_UNKNOWN = ("softcap", "s_aux", "position_bias")
"""What some models' attention adds to the scores."""


def more_than_softmax(module: Any, given: Mapping[str, Any]) -> str:
    """Return what an attention layer does beyond causal softmax attention; "" for nothing.

    Args:
        module: the layer.
        given: arguments of its attention function.
    """
    extra = next((name for name in _UNKNOWN if given.get(name) is not None), "")
    if extra or not getattr(module, "is_causal", True):
        return f"{type(module).__name__} has attention of its own kind"
    return ""


def why_padded(model: Any) -> str | None:
    """Return why a model's batches are padded in training; "" where they are flat rows.

    None means that this cannot be seen without weights: then it is seen when training starts.

    Args:
        model: without memory for its weights; its attention implementation is changed.
    """
    import torch
    from transformers import AttentionInterface

    reasons: list[str] = []

    def probe(module: Any, query: Any, key: Any, value: Any, mask: Any, **given: Any) -> Any:
        reasons.append(more_than_softmax(module, given))
        batch, heads, tokens, _ = query.shape
        return query.new_empty(batch, tokens, heads, value.shape[-1]), None

    AttentionInterface.register(_PROBE, probe)
    ids = torch.zeros(1, 4, dtype=torch.long, device="meta")
    try:
        model.set_attn_implementation(_PROBE)
        with torch.no_grad():
            model.base_model(input_ids=ids, use_cache=False)
    except (NotImplementedError, RuntimeError, ValueError, TypeError):  # values decide the way
        return None
    if len(reasons) < model.config.get_text_config().num_hidden_layers:
        return "some layers carry a state from token to token"
    return next(filter(None, reasons), "")
