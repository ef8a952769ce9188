"""Training curves during training: the newest steps go into the run's outbox."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from lidr.components.shared.core.retry import answering_quickly
from lidr.components.shared.tracking.entries import Metric, TrackingEntry
from lidr.components.shared.tracking.outbox import Outbox, now_ms
from lidr.components.shared.tracking.stage_metrics import training_curves

_INTERVAL_SECONDS = 30.0


class CurveWriter:
    """Writes the newest steps into the outbox periodically, in a thread beside training.

    Steps that a failing store did not take are written with the next ones, or at the stage's end.
    Steps of an earlier attempt are not written again: MLflow would have them twice.

    Args:
        outbox: of the run.
        place: of the train stage in the outbox.
        excluded: keys of the rows that are not metrics.
        interval: between two writes, in seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        place: str,
        excluded: Collection[str],
        interval: float = _INTERVAL_SECONDS,
    ) -> None:
        self._outbox = outbox
        self._place = place
        self._excluded = excluded
        self._interval = interval
        self._last_step = outbox.steps_reported(place)
        self._next = time.monotonic() + interval
        self._worker = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def update(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write the new rows (metrics, and `step`) if the interval and the last write are over."""
        busy = self._writing is not None and not self._writing.done()
        if busy or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._interval
        fresh = [
            {key: value for key, value in row.items() if key not in self._excluded}
            for row in rows
            if row["step"] > self._last_step
        ]
        if fresh:
            self._writing = self._worker.submit(self._write, training_curves(fresh))

    def close(self) -> None:
        """Wait for the last write, which gives up soon if the store fails.

        So none follows the entry of the stage's end, which has the steps that were not written.
        """
        with answering_quickly():
            self._worker.shutdown()

    def _write(self, metrics: Sequence[Metric]) -> None:
        last = metrics[-1][2]
        name = f"metrics-{last:08}"
        self._outbox.add(TrackingEntry(self._place, name, now_ms(), metrics=metrics))
        self._last_step = last
