"""Reward margins at the end of training, of a few pairs: which ones were learnt.

The means in metrics.jsonl say how training went, these say on what. They cost one pass without
gradients over a tenth of the pairs at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest

import torch

from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.records.samples import MARGINS_FILE, PairMargin, sampling_order
from lidr.components.shared.store.stage import Stage

_MAX_PAIRS = 400


def sampled_rows(pairs: Sequence[TokenPair]) -> list[int]:
    """Return rows of pairs that the pair stage's sample is likely to hold, too."""
    size = min(_MAX_PAIRS, -(-len(pairs) // 10))
    return nsmallest(size, range(len(pairs)), key=lambda row: _order(pairs[row]))


def write_margins(
    stage: Stage, pairs: Sequence[TokenPair], rows: Sequence[int], margins: torch.Tensor
) -> None:
    """Write the margins of rows, (rows,), into a train stage."""
    records = [
        PairMargin(pairs[row].key, margin)
        for row, margin in zip(rows, margins.tolist(), strict=True)
    ]
    stage.write_records(MARGINS_FILE, records, PairMargin)


def _order(pair: TokenPair) -> tuple[bool, int, str]:
    return pair.chosen == pair.rejected, sampling_order(pair.prompt_id), pair.key
