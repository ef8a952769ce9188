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


def why_not_softmax(module: Any, mask: Any, given: Mapping[str, Any]) -> str:
    """Return why an attention layer is not a plain causal softmax; "" if it is one.

    A sliding window is allowed where the layer passes it to its attention function.

    Args:
        module: the layer.
        mask: the attention mask that it passes. transformers makes none for an attention function
            that it does not know, so any mask is the model's own.
        given: its other arguments for the attention function.
    """
    name, kind = type(module).__name__, _layer_kind(module)
    extra = any(given.get(argument) is not None for argument in _EXTRA_ARGUMENTS)
    if extra or mask is not None or not getattr(module, "is_causal", True):
        return f"the attention of {name} is not a plain causal softmax"
    if kind not in ("full_attention", "sliding_attention"):
        return f"the attention of {name} is {kind.replace('_', ' ')}"
    if kind == "sliding_attention" and not given.get("sliding_window"):
        return f"{name} has its sliding window only in the attention mask"
    if getattr(module, "attn_temperature_tuning", False) and not module.use_rope:  # Llama 4
        return f"{name} scales its queries by their position in the row"
    return ""


def _layer_kind(module: Any) -> str:
    """Return what the model's config says about a layer, in the words of its `layer_types`."""
    config, place = getattr(module, "config", None), getattr(module, "layer_idx", None)
    kinds = getattr(config, "layer_types", None)
    if kinds and place is not None:
        return str(kinds[place])
    window = getattr(config, "sliding_window", None)
    windowed = window and getattr(config, "use_sliding_window", True)
    return "sliding_attention" if windowed else "full_attention"


def why_padded(model: Any) -> str | None:
    """Return why a model's batches are padded in training; "" if they are flat rows.

    None means that this cannot be decided without weights; it is decided when training starts.

    Args:
        model: the model on the meta device; its attention implementation is changed.
    """
    import torch
    from transformers import AttentionInterface

    reasons: list[str] = []

    def probe(module: Any, query: Any, key: Any, value: Any, mask: Any, **given: Any) -> Any:
        reasons.append(why_not_softmax(module, mask, given))
        batch, heads, tokens, _ = query.shape
        return query.new_empty(batch, tokens, heads, value.shape[-1]), None

    AttentionInterface.register(_PROBE, probe)
    ids = torch.zeros(1, 4, dtype=torch.long, device="meta")
    try:
        model.set_attn_implementation(_PROBE)
        with torch.no_grad():
            model.base_model(input_ids=ids, use_cache=False)
    except (NotImplementedError, RuntimeError, ValueError, TypeError):  # it depends on values
        return next(filter(None, reasons), None)
    if len(reasons) < model.config.get_text_config().num_hidden_layers:
        return "some layers carry a state from token to token"
    return next(filter(None, reasons), "")
