"""Reward margins of some pairs at the end of training: which pairs were learnt.

metrics.jsonl has the means alone. The margins cost one pass without gradients over at most a tenth
of the pairs.
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
    """Return up to 400 rows of pairs, chosen as the pair stage chooses its sample."""
    size = min(_MAX_PAIRS, -(-len(pairs) // 10))
    return nsmallest(size, range(len(pairs)), key=lambda row: _sampling_key(pairs[row]))


def write_margins(
    stage: Stage, pairs: Sequence[TokenPair], rows: Sequence[int], margins: torch.Tensor
) -> None:
    """Write the margins of these rows, (rows,), into a train stage."""
    records = [
        PairMargin(pairs[row].key, margin)
        for row, margin in zip(rows, margins.tolist(), strict=True)
    ]
    stage.write_records(MARGINS_FILE, records, PairMargin)


def _sampling_key(pair: TokenPair) -> tuple[bool, int, str]:
    return pair.chosen == pair.rejected, sampling_order(pair.prompt_id), pair.key
