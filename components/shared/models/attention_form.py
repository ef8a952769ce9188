"""Whether a model's attention is a plain causal softmax, so that pairs can share a row in training.

This is tried out: the model runs on the meta device (without weights), and a probe records what its
layers pass to their attention function (`transformers.AttentionInterface`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PROBE = "lidr_probe"

_EXTRA_ARGUMENTS = ("softcap", "s_aux", "position_bias")
"""Arguments by which some models' attention changes its scores."""


def why_not_softmax(module: Any, given: Mapping[str, Any]) -> str:
    """Return why an attention layer is not a plain causal softmax; "" if it is one.

    `given` holds the layer's arguments for its attention function.
    """
    extra = any(given.get(name) is not None for name in _EXTRA_ARGUMENTS)
    if extra or not getattr(module, "is_causal", True):
        return f"the attention of {type(module).__name__} is not a plain causal softmax"
    return ""


def why_padded(model: Any) -> str | None:
    """Return why a model's batches are padded in training; "" if they are flat rows.

    None means that this cannot be decided without weights; it is decided when training starts.

    Args:
        model: on the meta device; its attention implementation is changed.
    """
    import torch
    from transformers import AttentionInterface

    reasons: list[str] = []

    def probe(module: Any, query: Any, key: Any, value: Any, mask: Any, **given: Any) -> Any:
        reasons.append(why_not_softmax(module, given))
        batch, heads, tokens, _ = query.shape
        return query.new_empty(batch, tokens, heads, value.shape[-1]), None

    AttentionInterface.register(_PROBE, probe)
    ids = torch.zeros(1, 4, dtype=torch.long, device="meta")
    try:
        model.set_attn_implementation(_PROBE)
        with torch.no_grad():
            model.base_model(input_ids=ids, use_cache=False)
    except (NotImplementedError, RuntimeError, ValueError, TypeError):  # it depends on values
        return None
    if len(reasons) < model.config.get_text_config().num_hidden_layers:
        return "some layers carry a state from token to token"
    return next(filter(None, reasons), "")
