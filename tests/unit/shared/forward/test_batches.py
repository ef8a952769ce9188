from __future__ import annotations

import torch

from lidr.components.shared.forward.batches import (
    MIN_MICRO_BATCH_TOKENS,
    flat_batch,
    micro_batches,
    padded_batch,
    token_budget,
)
from lidr.components.shared.forward.tokens import TokenPair
from tests.unit.train.models import random_pairs

CPU = torch.device("cpu")
PAIRS = [
    TokenPair("a", "p0", "es", [1, 2], [3, 4], [5]),
    TokenPair("b", "p1", "es", [6], [7], [8, 9]),
]


def test_a_flat_row():
    batch = flat_batch(PAIRS, CPU)
    assert batch.ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1, 1, 2]]
    assert batch.targets.tolist() == [3, 4, 5, 7, 8, 9]
    assert batch.sources.tolist() == [1, 2, 1, 5, 5, 7]
    assert batch.lengths == (2, 1, 1, 2)
    assert batch.segments.key_index.tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 6, 5, 7, 8]
    assert batch.segments.query_ends.tolist() == [0, 4, 5, 7, 9]
    assert batch.segments.key_ends.tolist() == [0, 4, 7, 9, 12]
    assert batch.segments.longest == 4


def test_a_side_of_one_token_leaves_places_whole_numbers():
    for layout in (flat_batch, padded_batch):
        for pair in PAIRS:
            batch = layout([pair], CPU)
            assert batch.sources.dtype == torch.int64
            if batch.positions is not None:
                assert batch.positions.dtype == torch.int64


def test_padded_rows():
    batch = padded_batch(PAIRS, CPU)
    assert batch.ids.tolist() == [[1, 2, 3, 4], [1, 2, 5, 0], [6, 7, 0, 0], [6, 8, 9, 0]]
    assert batch.ids.flatten()[batch.sources + 1].tolist() == batch.targets.tolist()
    assert (batch.positions, batch.segments) == (None, None)


def test_micro_batches_hold_every_row_once_within_their_budget():
    pairs = random_pairs(40)
    for layout in (flat_batch, padded_batch):
        for most in (0, 3):
            parts = micro_batches(range(5, 35), pairs, layout, 120, most)
            assert sorted(row for part in parts for row in part) == list(range(5, 35))
            for part in parts:
                cost = layout([pairs[row] for row in part], CPU).ids.numel()
                assert cost <= 120 or len(part) == 1
                assert not most or len(part) <= most
    assert len(micro_batches(range(40), pairs, flat_batch, 10**6, 0)) == 1
    assert len(micro_batches(range(40), pairs, flat_batch, 1, 0)) == 40


def test_the_budget_is_the_recipe_s_or_what_the_longest_pair_needs():
    assert token_budget(77, PAIRS) == 77
    assert token_budget(0, PAIRS) == MIN_MICRO_BATCH_TOKENS
    long = TokenPair("c", "p2", "es", [1] * 10, [2] * MIN_MICRO_BATCH_TOKENS, [3] * 5)
    assert token_budget(0, [*PAIRS, long]) == MIN_MICRO_BATCH_TOKENS + 15
