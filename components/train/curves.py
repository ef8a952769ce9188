"""Training curves while they grow: rank 0 leaves its newest steps in the run's spool."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from transformers import TrainerCallback

from components.shared.tracking.facts import curves
from components.shared.tracking.spool import Entry, Spool, now
from components.train.metrics import without
from components.train.preference import INTERNAL

_INTERVAL = 30.0


class CurveWriter(TrainerCallback):
    """Writes the steps since the last time into the spool now and then, beside training.

    What a failing store does not take comes with the next steps, or with the stage's end. Steps
    that an earlier attempt has left are not written again: they would come to MLflow twice.

    Args:
        spool: of the run.
        place: of the train stage in it.
        interval: seconds from one time to the next.
    """

    def __init__(self, spool: Spool, place: str, interval: float = _INTERVAL) -> None:
        self._spool = spool
        self._place = place
        self._interval = interval
        self._told = spool.steps_told(place)
        self._next = time.monotonic() + interval
        self._worker = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write where it is time to, and the last writing is over."""
        busy = self._writing is not None and not self._writing.done()
        if busy or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._interval
        rows = [without(row, INTERNAL) for row in state.log_history if row["step"] > self._told]
        if rows:
            self._writing = self._worker.submit(self._write, rows)

    def _write(self, rows: Sequence[Mapping[str, float]]) -> None:
        last = int(rows[-1]["step"])
        self._spool.add(
            Entry(self._place, f"metrics-{last:08}", now(), metrics=curves(map(dict, rows)))
        )
        self._told = last
