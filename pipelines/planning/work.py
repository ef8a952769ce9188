"""A step of the loop as a plan and the simulator see it."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One step of the loop, as the simulator sees it.

    Attributes:
        stage: name of the step.
        workers: pods that work side by side; all nodes where they are coupled.
        gpus: of one worker; 0 for a step on CPUs, which no interruption meets.
        startup: seconds from a node's being there to its first useful work, at every start.
        pieces: of work that survive the loss of a node: over all workers, or of all coupled ones.
        piece_seconds: that one of them takes on an undisturbed node.
        coupled: whether all workers must run at once, as the ranks of training.
        price: of one GPU for an hour.
    """

    stage: str
    workers: int = 1
    gpus: int = 0
    startup: float = 0.0
    pieces: int = 1
    piece_seconds: float = 0.0
    coupled: bool = False
    price: float = 0.0

    @property
    def seconds(self) -> float:
        """How long the step takes where nothing goes wrong."""
        most = self.pieces if self.coupled else math.ceil(self.pieces / self.workers)
        return self.startup + most * self.piece_seconds

    @property
    def gpu_hours(self) -> float:
        """GPU hours where nothing goes wrong; a worker that is through lets its GPUs go."""
        if self.coupled:
            return self.workers * self.gpus * self.seconds / 3600
        busy = self.workers * self.startup + self.pieces * self.piece_seconds
        return self.gpus * busy / 3600
