"""Checkpoints while training runs, and ending early with one: a callback of the trainer."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from lidr.components.shared.core.errors import Stopped
from lidr.components.train.distributed.checkpoints import Checkpoints
from lidr.components.train.distributed.ranks import Ranks


class CheckpointWriter(TrainerCallback):
    """Copies checkpoints onto the stage; where a rank was sent SIGTERM, all end after a last one.

    Args:
        checkpoints: of the stage.
        ranks: the ranks.
    """

    def __init__(self, checkpoints: Checkpoints, ranks: Ranks) -> None:
        self._checkpoints = checkpoints
        self._ranks = ranks
        self._asked = False
        self._stopping = False
        self._logged = 0.0
        self.seconds = 0.0
        """How long training stood still for checkpoints."""
        self.first_step = 0.0
        """When the first step began, on the monotonic clock."""
        self.trained = 0.0
        """Seconds from there until the last checkpoint was complete."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Train inside: on SIGTERM, writes the last checkpoint, then ends.

        Raises:
            Stopped: training was asked to end.
        """
        with self._hearing():
            yield
            began = time.monotonic()
            self._checkpoints.wait()
            ended = time.monotonic()
            self.seconds += ended - began
            self.trained = ended - (self.first_step or ended)
        if self._stopping:
            raise Stopped(
                "training was asked to end; its checkpoint is complete",
                remedy="Run the same command again to go on.",
            )

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when the first step began."""
        self.first_step = self.first_step or time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Ask all ranks whether one of them must end: then all do, at this step."""
        if self._ranks.any(self._asked):
            self._stopping = True
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the time: a checkpoint, where one is due, comes next."""
        self._logged = time.monotonic()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin to copy the checkpoint that was just written."""
        step = state.global_step
        self._checkpoints.save(Path(args.output_dir) / f"checkpoint-{step}", step)
        self.seconds += time.monotonic() - self._logged

    @contextmanager
    def _hearing(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # it cannot take signals
            yield
            return
        before = signal.signal(signal.SIGTERM, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
