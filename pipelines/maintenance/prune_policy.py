"""How much is kept when a store is pruned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class PrunePolicy:
    """How much is kept.

    Attributes:
        keep_last: how many of the newest versions of each registered model.
        grace: seconds for which everything is kept after it was written.
        now: the time of pruning, in seconds since 1970.
        forget: names of registered models that were deleted for good.
        live_runs: names of runs that are kept whole, whenever they last wrote something.
    """

    keep_last: int
    grace: float
    now: float
    forget: Collection[str] = ()
    live_runs: Collection[str] = ()

    def is_young(self, moment: float) -> bool:
        """Return whether something written at a moment is too young to be removed."""
        return moment > self.now - self.grace
