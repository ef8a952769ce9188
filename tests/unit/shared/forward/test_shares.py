from __future__ import annotations

import pytest

from lidr.components.shared.forward.batches import flat_batch
from lidr.components.shared.forward.shares import Sharing
from tests.unit.train.models import random_pairs

PAIRS = random_pairs(23)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [range(23), range(5), [7]])
def test_each_pair_counts_once_and_ranks_make_as_many_passes(world: int, rows):
    sharing = Sharing(PAIRS, flat_batch, 120, 0, world)
    parts = [sharing.parts(list(rows), rank) for rank in range(world)]
    assert len({len(each) for each in parts}) == 1
    counted = [row for each in parts for part in each if part.counts for row in part.rows]
    assert sorted(counted) == sorted(rows)
    assert all(part.rows for each in parts for part in each)


def test_ranks_get_about_as_many_tokens_and_no_idle_pass_where_a_cut_does():
    sharing = Sharing(PAIRS, flat_batch, 120, 0, 2)
    parts = [sharing.parts(list(range(23)), rank) for rank in range(2)]
    loads = [sum(PAIRS[row].tokens for part in each for row in part.rows) for each in parts]
    assert abs(loads[0] - loads[1]) <= max(pair.tokens for pair in PAIRS)
    assert all(part.counts for each in parts for part in each)
