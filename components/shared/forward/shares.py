"""Divides a step's pairs among ranks: about as many tokens each, and equally many passes.

The set of pairs of an optimizer step is the same whatever the number of ranks, and every rank
computes all shares itself. ZeRO exchanges gradients (stage 2) and weights (stage 3) in every pass,
so a rank with fewer passes halves micro-batches, or adds some that do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lidr.components.shared.forward.batches import Layout, micro_batches
from lidr.components.shared.forward.tokens import TokenPair


@dataclass(frozen=True)
class RankPart:
    """A micro-batch of one rank.

    Attributes:
        rows: indices of its pairs.
        counts: False for a pass that is only made because other ranks make one.
    """

    rows: list[int]
    counts: bool = True


@dataclass(frozen=True)
class Sharing:
    """How rows become the micro-batches of each rank.

    Attributes:
        pairs: all pairs, which rows refer to.
        layout: layout of the micro-batches.
        tokens: most tokens of a micro-batch; a longer pair is a micro-batch by itself.
        max_pairs: most pairs of a micro-batch; 0 for no bound.
        world_size: number of ranks.
    """

    pairs: Sequence[TokenPair]
    layout: Layout
    tokens: int
    max_pairs: int
    world_size: int

    def parts(self, rows: Sequence[int], rank: int) -> list[RankPart]:
        """Return the micro-batches of a rank; every rank has equally many.

        Args:
            rows: indices of the pairs of all ranks.
            rank: the rank whose micro-batches to return.
        """
        shares = [
            micro_batches(share, self.pairs, self.layout, self.tokens, self.max_pairs)
            for share in self._shares(rows)
        ]
        passes = max(map(len, shares))
        parts = [RankPart(pack) for pack in _halved(shares[rank], passes)]
        idle = RankPart([min(rows, key=lambda row: self.pairs[row].tokens)], counts=False)
        return parts + [idle] * (passes - len(parts))

    def _shares(self, rows: Sequence[int]) -> list[list[int]]:
        """Give each row, the longest first, to the rank that has the fewest tokens so far."""
        if self.world_size == 1:
            return [list(rows)]
        shares: list[list[int]] = [[] for _ in range(self.world_size)]
        loads = [0] * self.world_size
        for row in sorted(rows, key=lambda row: -self.pairs[row].tokens):
            rank = loads.index(min(loads))
            shares[rank].append(row)
            loads[rank] += self.pairs[row].tokens
        return shares


def _halved(packs: list[list[int]], passes: int) -> list[list[int]]:
    """Halve the largest micro-batches until there are `passes`, or all have one pair."""
    packs = list(packs)
    while len(packs) < passes:
        pack = max(packs, key=len, default=[])
        if len(pack) < 2:
            break
        packs.remove(pack)
        packs += [pack[: len(pack) // 2], pack[len(pack) // 2 :]]
    return packs
