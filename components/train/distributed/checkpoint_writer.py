"""The trainer's callbacks for checkpoints: one writes them, one deletes what was restored."""

from __future__ import annotations

import shutil
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
    """Copies checkpoints to the stage; if any rank gets SIGTERM, all stop after a last one."""

    def __init__(self, checkpoints: Checkpoints, ranks: Ranks) -> None:
        self._checkpoints = checkpoints
        self._ranks = ranks
        self._terminated = False
        self._stopping = False
        self._logged = 0.0
        self.checkpoint_seconds = 0.0
        """How long training waited for checkpoints."""
        self.first_step_began = 0.0
        """On the monotonic clock, in seconds."""
        self.train_seconds = 0.0
        """From the start of the first step until the last checkpoint was complete."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Train inside; on SIGTERM, write the last checkpoint, then stop.

        Raises:
            Stopped: training was asked to end.
        """
        with self._handling_sigterm():
            yield
            began = time.monotonic()
            self._checkpoints.wait()
            ended = time.monotonic()
            self.checkpoint_seconds += ended - began
            self.train_seconds = ended - (self.first_step_began or ended)
        if self._stopping or self._ranks.any(self._terminated):  # SIGTERM may follow the last step
            raise Stopped(
                "training was asked to end; its checkpoint is complete",
                remedy="Run the same command again to resume.",
            )

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when the first step began."""
        self.first_step_began = self.first_step_began or time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop all ranks after this step if any of them got SIGTERM."""
        if self._ranks.any(self._terminated):
            self._stopping = True
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the time; if a checkpoint is written next, wait until the previous one is uploaded.

        The scratch disk then holds one at a time.
        """
        self._logged = time.monotonic()
        if control.should_save:
            self._checkpoints.wait()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start to copy the checkpoint that was just written."""
        step = state.global_step
        self._checkpoints.save(Path(args.output_dir) / f"checkpoint-{step}", step)
        self.checkpoint_seconds += time.monotonic() - self._logged

    @contextmanager
    def _handling_sigterm(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # only it handles signals
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True


class RestoredCheckpoint(TrainerCallback):
    """Deletes a downloaded checkpoint once training has loaded it: the disk has room for one.

    Args:
        folder: this rank's copy.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Delete the copy: weights, optimizer and random state have been read."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Delete the copy where no step was left."""
        shutil.rmtree(self._folder, ignore_errors=True)
