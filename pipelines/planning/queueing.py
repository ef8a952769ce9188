"""A quota of GPUs that several tenants share, in strict order of arrival (Kueue's StrictFIFO)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

_WARM_UP_JOBS = 20.0
"""How many mean job lengths pass before a run's first request, to fill the quota."""

_BATCH = 4096
"""How many of the tenants' jobs are drawn at a time."""


class Quota:
    """GPUs that requests hold for a while, first come, first served.

    Args:
        gpus: how many there are.
    """

    def __init__(self, gpus: int) -> None:
        self._free = gpus
        self._ends: list[tuple[float, int]] = []
        self._last = 0.0

    def hold(self, at: float, gpus: int, seconds: float) -> float:
        """Hold GPUs as soon as they are free and all earlier requests have been admitted.

        Args:
            at: time of the request in seconds; requests must come in order of time.
            gpus: how many, at most those of the quota.
            seconds: how long they are held.

        Returns:
            The time in seconds from which the GPUs are held.
        """
        start = max(at, self._last)
        while self._ends and (self._free < gpus or self._ends[0][0] <= start):
            end, size = heapq.heappop(self._ends)
            self._free += size
            start = max(start, end) if self._free - size < gpus else start
        self._free -= gpus
        heapq.heappush(self._ends, (start + seconds, gpus))
        self._last = start
        return start


@dataclass(frozen=True)
class Tenants:
    """How other tenants use a shared quota.

    Attributes:
        load: share of the quota that they keep busy on average; 0 for no tenants.
        gpus: GPUs of each job.
        hours: mean length of a job; lengths are exponentially distributed.
    """

    load: float = 0.0
    gpus: int = 8
    hours: float = 2.0


class SharedQuota:
    """A quota with tenants whose jobs arrive as a Poisson process.

    Its clock is in seconds; a run's first request comes at `warm_up`.

    Args:
        gpus: of the quota.
        tenants: who else uses the quota.
        rng: draws the tenants' jobs.
    """

    def __init__(self, gpus: int, tenants: Tenants, rng: np.random.Generator) -> None:
        self._quota = Quota(gpus)
        self._size = min(tenants.gpus, gpus)
        self._length = tenants.hours * 3600
        self._gap = self._size * self._length / (tenants.load * gpus)
        self._rng = rng
        self._next = 0.0
        self._drawn: list[tuple[float, float]] = []
        self.warm_up = _WARM_UP_JOBS * self._length

    def hold(self, at: float, gpus: int, seconds: float) -> float:
        """Hold GPUs after all of the tenants' earlier jobs; see `Quota.hold`."""
        while (arrival := self._peek())[0] <= at:
            self._drawn.pop()
            self._next, length = arrival
            self._quota.hold(self._next, self._size, length)
        return self._quota.hold(at, gpus, seconds)

    def _peek(self) -> tuple[float, float]:
        if not self._drawn:
            gaps = self._rng.exponential(self._gap, _BATCH)
            lengths = self._rng.exponential(self._length, _BATCH)
            arrivals = self._next + np.cumsum(gaps)
            self._drawn = list(zip(arrivals.tolist(), lengths.tolist(), strict=True))[::-1]
        return self._drawn[-1]
