"""Micro-batches of pairs, without padding where the model allows: one row, attention by segment.

A flat row is `prompt, chosen, rejected` of several pairs in sequence. Positions restart with every
pair, and the rejected text continues from the prompt's end as the chosen one does: it sees the
prompt (which is computed once) and not the chosen text. If a model's rotary embedding depends on
the length of a sequence, each side gets its own copy of the prompt. The padded form, for models
whose attention cannot work by segment, has a row per side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from lidr.components.shared.forward.tokens import TokenPair

MIN_MICRO_BATCH_TOKENS = 2048
"""Least automatic token budget: with fewer, a small model spends its time on overhead."""

Span = tuple[int, int, int]
"""Tokens of a pair's prompt, chosen and rejected text in a flat row; `(0, tokens, 0)` for a side
with its own prompt."""


@dataclass(frozen=True)
class Segments:
    """How a flat row divides into pairs, for attention by segment.

    Attributes:
        spans: one for each pair, or for each side with its own prompt, in the row's order.
        device: the row's device.
    """

    spans: tuple[Span, ...]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @cached_property
    def key_index(self) -> torch.Tensor:
        """Row indices of each side's keys: prompt and chosen, then prompt and rejected."""
        parts: list[range] = []
        start = 0
        for prompt, chosen, rejected in self.spans:
            middle = start + prompt + chosen
            parts += [range(start, middle)]
            if rejected:
                parts += [range(start, start + prompt), range(middle, middle + rejected)]
            start = middle + rejected
        return _concatenate(parts).to(self.device)

    @cached_property
    def query_ends(self) -> torch.Tensor:
        """Cumulative lengths of the queries: prompt and chosen, then rejected, of each pair."""
        return self._cumulative(side for p, c, r in self.spans for side in (p + c, r))

    @cached_property
    def key_ends(self) -> torch.Tensor:
        """Cumulative lengths of the keys: prompt and chosen, then prompt and rejected."""
        return self._cumulative(
            side for p, c, r in self.spans for side in (p + c, p + r if r else 0)
        )

    @property
    def longest(self) -> int:
        """Tokens of the longest side, its prompt included."""
        return max(p + max(c, r) for p, c, r in self.spans)

    def _cumulative(self, lengths: Iterable[int]) -> torch.Tensor:
        ends = np.cumsum([0, *filter(None, lengths)])
        return torch.from_numpy(ends.astype(np.int32)).to(self.device)


@dataclass(frozen=True)
class MicroBatch:
    """Pairs as a model reads them.

    Attributes:
        ids: token ids, (rows, tokens).
        positions: position ids of the same shape; None where they count from 0 in each row.
        segments: a flat row's segments; None for padded rows.
        sources: for each response token, the index (into all rows, flattened) of the token that
            predicts it; pair by pair, chosen before rejected.
        targets: the response tokens, in the same order.
        lengths: response tokens of each side: chosen, rejected, chosen, ...
    """

    ids: torch.Tensor
    positions: torch.Tensor | None
    segments: Segments | None
    sources: torch.Tensor
    targets: torch.Tensor
    lengths: tuple[int, ...]


Layout = Callable[[Sequence[TokenPair], torch.device], MicroBatch]
"""Makes a batch of pairs on a device."""


def flat_batch(pairs: Sequence[TokenPair], device: torch.device) -> MicroBatch:
    """Return the pairs as one row without padding, each prompt once."""
    ids: list[int] = []
    positions: list[range] = []
    sources: list[range] = []
    for pair in pairs:
        start, prompt = len(ids), len(pair.prompt)
        middle = start + prompt + len(pair.chosen)
        ids += pair.prompt + pair.chosen + pair.rejected
        positions += [range(middle - start), range(prompt, prompt + len(pair.rejected))]
        # The prompt's last token predicts the first one of both sides.
        sources += [range(start + prompt - 1, middle - 1)]
        sources += [range(start + prompt - 1, start + prompt)]
        sources += [range(middle, middle + len(pair.rejected) - 1)]
    spans = tuple((len(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in pairs)
    return MicroBatch(
        ids=torch.tensor([ids], device=device),
        positions=_concatenate(positions)[None].to(device),
        segments=Segments(spans, device),
        sources=_concatenate(sources).to(device),
        targets=_targets(pairs, device),
        lengths=_lengths(pairs),
    )


def separate_batch(pairs: Sequence[TokenPair], device: torch.device) -> MicroBatch:
    """Return the pairs as one row in which each side is a sequence with its own prompt."""
    sides = [pair.prompt + side for pair in pairs for side in (pair.chosen, pair.rejected)]
    ends = np.cumsum([len(side) for side in sides])
    sources = [
        range(end - length - 1, end - 1)
        for end, length in zip(ends.tolist(), _lengths(pairs), strict=True)
    ]
    return MicroBatch(
        ids=torch.tensor([[token for side in sides for token in side]], device=device),
        positions=_concatenate([range(len(side)) for side in sides])[None].to(device),
        segments=Segments(tuple((0, len(side), 0) for side in sides), device),
        sources=_concatenate(sources).to(device),
        targets=_targets(pairs, device),
        lengths=_lengths(pairs),
    )


def padded_batch(pairs: Sequence[TokenPair], device: torch.device) -> MicroBatch:
    """Return the pairs as a row per side, padded on the right.

    No attention mask is needed: in a causal model no token sees the padding after it.
    """
    sides = [pair.prompt + side for pair in pairs for side in (pair.chosen, pair.rejected)]
    width = max(map(len, sides))
    ids = np.zeros((len(sides), width), dtype=np.int64)
    sources: list[range] = []
    for row, (side, length) in enumerate(zip(sides, _lengths(pairs), strict=True)):
        ids[row, : len(side)] = side
        end = row * width + len(side) - 1
        sources.append(range(end - length, end))
    return MicroBatch(
        ids=torch.from_numpy(ids).to(device),
        positions=None,
        segments=None,
        sources=_concatenate(sources).to(device),
        targets=_targets(pairs, device),
        lengths=_lengths(pairs),
    )


def micro_batches(
    rows: Sequence[int], pairs: Sequence[TokenPair], layout: Layout, tokens: int, max_pairs: int
) -> list[list[int]]:
    """Divide rows into micro-batches of pairs of similar length.

    Args:
        rows: indices of the pairs of one optimizer step, so that grouping changes no step.
        pairs: all pairs, which rows refer to.
        layout: layout of the micro-batches, which decides how many tokens each of them has.
        tokens: most tokens of a micro-batch; a longer pair is a micro-batch by itself.
        max_pairs: most pairs of a micro-batch; 0 for no bound.
    """
    packs: list[list[int]] = []
    for row in sorted(rows, key=lambda row: -pairs[row].longest):
        wider = [*packs[-1], row] if packs else [row]
        fits = _count_tokens([pairs[each] for each in wider], layout) <= tokens
        if packs and fits and (not max_pairs or len(wider) <= max_pairs):
            packs[-1] = wider
        else:
            packs.append([row])
    return packs


def token_budget(setting: int, pairs: Sequence[TokenPair]) -> int:
    """Return the most tokens of a micro-batch: the profile's `setting`, or if 0 the longest pair's.

    The latter are at least `MIN_MICRO_BATCH_TOKENS`.
    """
    return setting or max(MIN_MICRO_BATCH_TOKENS, *(pair.tokens for pair in pairs))


def _count_tokens(pairs: Sequence[TokenPair], layout: Layout) -> int:
    if layout is flat_batch:
        return sum(pair.tokens for pair in pairs)
    if layout is separate_batch:
        return sum(pair.tokens + len(pair.prompt) for pair in pairs)
    return 2 * len(pairs) * max(pair.longest for pair in pairs)


def _concatenate(ranges: Sequence[range]) -> torch.Tensor:
    """Return the integers of all ranges in one tensor; a range may be empty."""
    return torch.from_numpy(np.concatenate([np.arange(r.start, r.stop) for r in ranges]))


def _targets(pairs: Sequence[TokenPair], device: torch.device) -> torch.Tensor:
    return torch.tensor([t for pair in pairs for t in pair.chosen + pair.rejected], device=device)


def _lengths(pairs: Sequence[TokenPair]) -> tuple[int, ...]:
    return tuple(len(side) for pair in pairs for side in (pair.chosen, pair.rejected))
