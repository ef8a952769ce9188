"""Rotary embeddings whose frequencies depend on the sequence length (longrope, dynamic NTK).

transformers chooses them by the longest row of a batch (`modeling_rope_utils.dynamic_rope_update`),
so rows on both sides of the threshold must not share a batch.
"""

from __future__ import annotations

from typing import Any

from lidr.components.shared.core.errors import BadInput


def longrope_threshold(config: Any) -> int:
    """Return the length in tokens above which longrope uses its long factors; 0 without longrope.

    Source: LongRoPE, arXiv 2402.13753, as in Phi-3.
    """
    text = config.get_text_config()
    return max(
        (
            int(given["original_max_position_embeddings"])
            for given in _rotary_parameters(text)
            if given.get("rope_type") == "longrope"
        ),
        default=0,
    )


def check_context(config: Any, max_length: int) -> None:
    """Refuse a context length at which a model's results would depend on earlier batches.

    Raises:
        BadInput: dynamic rotary scaling, and a context longer than the model was trained on.
    """
    text = config.get_text_config()
    dynamic = any("dynamic" in given.get("rope_type", "") for given in _rotary_parameters(text))
    if dynamic and max_length > text.max_position_embeddings:
        raise BadInput(
            f"model.max_length is {max_length}, but beyond {text.max_position_embeddings} tokens "
            "this model's dynamic rotary scaling depends on the longest text it has read before",
            remedy=f"Set model.max_length to {text.max_position_embeddings} or less.",
        )


def _rotary_parameters(text: Any) -> list[dict[str, Any]]:
    """Return the settings of a model's rotary embedding: one, or one for each type of layer."""
    given = getattr(text, "rope_parameters", None) or {}
    parts = [each for each in given.values() if isinstance(each, dict)]
    return parts or [given]
