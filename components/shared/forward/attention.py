"""Attention within the segments of a flat row, as an attention function for transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from lidr.components.shared.forward.batches import Segments, Span
from lidr.components.shared.models.attention_form import why_not_softmax

NAME = "lidr_flat"

_MAX_HEAD_SIZE = 256
"""The largest that FlashAttention takes; some layers of Gemma 4 have 512."""


def flat_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    segments: Segments | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend causally within each segment; dropout is off in preference training.

    Args:
        module: the attention layer.
        query: (1, heads, tokens, head size).
        key: (1, heads or fewer, tokens, head size).
        value: as `key`; in some models with another head size.
        attention_mask: None; a model that makes a mask of its own is refused.
        segments: the row's segments.
        scaling: factor of the scores; None for 1 / sqrt(head size).
        sliding_window: tokens that each token sees, itself included; None for all before it.
        kwargs: arguments of other attention functions.

    Returns:
        (1, tokens, heads, head size of the value); and None, as weights are not kept.

    Raises:
        NotImplementedError: this model's attention is not a plain causal softmax, or the model
            does not pass the segments on.
    """
    reason = why_not_softmax(module, attention_mask, kwargs | {"sliding_window": sliding_window})
    if segments is None or reason:
        lost = f"{type(module).__name__} does not pass `segments` on to its attention"
        raise NotImplementedError(reason or lost)
    if query.is_cuda and torch.is_autocast_enabled("cuda"):
        # under autocast, rotary embeddings leave queries and keys in float32
        half = torch.get_autocast_dtype("cuda")
        query, key, value = query.to(half), key.to(half), value.to(half)
    if query.is_cuda and fits_kernel(query, value):
        from torch.nn.attention.varlen import varlen_attn

        found = varlen_attention(varlen_attn, query, key, value, segments, scaling, sliding_window)
        return found, None
    groups = query.shape[1] // key.shape[1]
    key, value = (
        each.repeat_interleave(groups, 1) if groups > 1 else each for each in (key, value)
    )
    found = _by_segment(query, key, value, segments.spans, scaling, sliding_window or 0)
    return found.transpose(1, 2), None


AttentionInterface.register(NAME, flat_attention)


def fits_kernel(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Return whether FlashAttention takes these heads, whose last dimension is their size."""
    size = query.shape[-1]
    fits = value.shape[-1] <= size <= _MAX_HEAD_SIZE and size % 8 == 0
    return fits and query.dtype in (torch.bfloat16, torch.float16)


def varlen_attention(
    kernel: Callable[..., Any],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """Attend in one call of a kernel for sequences of different lengths (FlashAttention on a GPU).

    Keys and values of a prompt are laid out twice, before chosen and before rejected; the kernel
    aligns shorter queries to the end of their keys. It wants values of the queries' head size, so
    smaller ones (multi-head latent attention) are padded, and the result is cropped.
    """
    size, own_size = query.shape[-1], value.shape[-1]
    if own_size < size:
        value = pad(value, (0, size - own_size))
    # (1, heads, tokens, size) becomes (tokens, heads, size).
    queries, keys, values = (each[0].transpose(0, 1) for each in (query, key, value))
    groups = query.shape[1] // key.shape[1]
    options: dict[str, bool] = {"enable_gqa": True} if groups > 1 else {}
    if options and not _knows_groups(kernel):
        keys, values = (each.repeat_interleave(groups, 1) for each in (keys, values))
        options = {}
    found: torch.Tensor = kernel(
        queries.contiguous(),
        keys.index_select(0, segments.key_index),
        values.index_select(0, segments.key_index),
        segments.query_ends,
        segments.key_ends,
        segments.longest,
        segments.longest,
        scale=scaling,
        window_size=(sliding_window - 1 if sliding_window else -1, 0),
        **options,
    )
    return found[None, ..., :own_size]


@cache
def _knows_groups(kernel: Callable[..., Any]) -> bool:
    """Return whether a kernel lets several query heads share a key: torch 2.11's does not."""
    return "enable_gqa" in signature(kernel).parameters


def _by_segment(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    spans: tuple[Span, ...],
    scaling: float | None,
    window: int,
) -> torch.Tensor:
    """Attend within one text at a time (prompt and chosen, prompt and rejected), without padding.

    On a CPU that is as fast as a kernel, and 3 times as fast as padding.
    """
    sizes = [size for p, c, r in spans for size in (p + c, r)]
    queries, keys, values = (each.split(sizes, dim=2) for each in (query, key, value))
    found: list[torch.Tensor] = []
    for number, (prompt, _, rejected) in enumerate(spans):
        first, second = 2 * number, 2 * number + 1
        found.append(_attend(queries[first], keys[first], values[first], scaling, window))
        if rejected:
            side_keys, side_values = (
                torch.cat([each[first][:, :, :prompt], each[second]], dim=2)
                for each in (keys, values)
            )
            found.append(_attend(queries[second], side_keys, side_values, scaling, window))
    return torch.cat(found, dim=2)


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scaling: float | None,
    window: int,
) -> torch.Tensor:
    """Attend causally in one sequence; the queries are those of its last tokens."""
    queries, keys = query.shape[2], key.shape[2]
    seen = None
    if queries < keys or 0 < window < keys:
        seen = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
        if 0 < window < keys:
            seen = seen.triu(keys - queries - window + 1)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=seen, is_causal=seen is None, scale=scaling
    )
