"""Attention within the segments of a flat row, as an attention function of transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from inspect import signature
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from lidr.components.shared.forward.batches import Segments, Span
from lidr.components.shared.models.attention_form import more_than_softmax

NAME = "lidr_flat"


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
        value: as `key`.
        attention_mask: unused: the segments say it all.
        segments: of the row.
        scaling: of the scores; None for one over the root of the head size.
        sliding_window: tokens that each one sees, itself included; None for all before it.
        kwargs: what other attention functions read.

    Returns:
        (1, tokens, heads, head size), and no weights.

    Raises:
        NotImplementedError: this model's attention is more than a softmax over causal scores.
    """
    reason = more_than_softmax(module, kwargs)
    if segments is None or reason:
        raise NotImplementedError(reason or f"{type(module).__name__} lost its segments")
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        return by_length(varlen_attn, query, key, value, segments, scaling, sliding_window), None
    groups = query.shape[1] // key.shape[1]
    key, value = (
        each.repeat_interleave(groups, 1) if groups > 1 else each for each in (key, value)
    )
    found = _by_segment(query, key, value, segments.spans, scaling, sliding_window or 0)
    return found.transpose(1, 2), None


AttentionInterface.register(NAME, flat_attention)


def by_length(
    kernel: Callable[..., Any],
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments,
    scaling: float | None,
    sliding_window: int | None,
) -> torch.Tensor:
    """Attend in one call of a kernel for sequences of many lengths (FlashAttention's on a GPU).

    Keys and values of a prompt are laid out twice, before chosen and before rejected; the kernel
    aligns shorter queries to the end of their keys.
    """
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
    return found[None]


@cache
def _knows_groups(kernel: Callable[..., Any]) -> bool:
    """Tell whether a kernel lets several heads read one key: torch 2.11's does not."""
    return "enable_gqa" in signature(kernel).parameters


def _by_segment(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    spans: tuple[Span, ...],
    scaling: float | None,
    window: int,
) -> torch.Tensor:
    """Attend side by side; on a CPU as fast as a kernel of one's own, and 3 times as padding."""
    sizes = [size for p, c, r in spans for size in (p + c, r)]
    queries, keys, values = (each.split(sizes, dim=2) for each in (query, key, value))
    found: list[torch.Tensor] = []
    for number, (prompt, chosen, rejected) in enumerate(spans):
        first, second = 2 * number, 2 * number + 1
        found.append(
            scaled_dot_product_attention(
                queries[first], keys[first], values[first], scale=scaling,
                **_causal(prompt + chosen, prompt + chosen, window, query.device),
            )
        )  # fmt: skip
        if not rejected:
            continue
        found.append(
            scaled_dot_product_attention(
                queries[second],
                torch.cat([keys[first][:, :, :prompt], keys[second]], dim=2),
                torch.cat([values[first][:, :, :prompt], values[second]], dim=2),
                scale=scaling,
                **_causal(rejected, prompt + rejected, window, query.device),
            )
        )
    return torch.cat(found, dim=2)


def _causal(queries: int, keys: int, window: int, device: torch.device) -> dict[str, Any]:
    """Return SDPA's arguments for queries that are the last of their keys."""
    if queries == keys and not 0 < window < keys:
        return {"is_causal": True}
    seen = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    if 0 < window < keys:
        seen = seen.triu(keys - queries - window + 1)
    return {"attn_mask": seen}
