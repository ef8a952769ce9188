"""The size of a step, from which plans and the simulator derive its time."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """One step of the loop.

    Attributes:
        stage: name of the step.
        workers: pods that work in parallel.
        gpus: of one worker; 0 for a step on CPUs, which is never interrupted in a simulation.
        startup: seconds until a node does useful work, at every start.
        pieces: into how many the work of all workers is divided; a finished one survives the loss
            of its node.
        piece_seconds: how long a piece takes on an undisturbed node.
        coupled: whether all workers must run at once and share each piece, as the nodes of train.
        launcher: whether a pod without GPUs starts the workers, as for a TrainJob.
        within: whether the step runs in the pods of the step before.
        price: of one GPU for an hour.
    """

    stage: str
    workers: int = 1
    gpus: int = 0
    startup: float = 0.0
    pieces: int = 1
    piece_seconds: float = 0.0
    coupled: bool = False
    launcher: bool = False
    within: bool = False
    price: float = 0.0

    @property
    def pods(self) -> int:
        """How many pods the step starts."""
        return 0 if self.within else self.workers + self.launcher

    @property
    def seconds(self) -> float:
        """How long the step takes if nothing goes wrong."""
        most = self.pieces if self.coupled else math.ceil(self.pieces / self.workers)
        return self.startup + most * self.piece_seconds

    @property
    def gpu_hours(self) -> float:
        """GPU hours if nothing goes wrong; a worker that has finished frees its GPUs."""
        if self.coupled:
            return self.workers * self.gpus * self.seconds / 3600
        busy = self.workers * self.startup + self.pieces * self.piece_seconds
        return self.gpus * busy / 3600
