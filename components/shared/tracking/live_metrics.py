"""Training curves while they grow: whoever trains leaves its newest steps in the run's outbox."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from lidr.components.shared.tracking.entries import Metric, TrackingEntry
from lidr.components.shared.tracking.outbox import Outbox, now
from lidr.components.shared.tracking.stage_metrics import curves

_INTERVAL = 30.0


class CurveWriter:
    """Writes the steps since the last time into the outbox now and then, beside training.

    What a failing store does not take comes with the next steps, or with the stage's end. Steps
    that an earlier attempt has left are not written again: they would come to MLflow twice.

    Args:
        outbox: of the run.
        place: of the train stage in it.
        left_out: what the rows hold besides metrics.
        interval: seconds from one time to the next.
    """

    def __init__(
        self, outbox: Outbox, place: str, left_out: Collection[str], interval: float = _INTERVAL
    ) -> None:
        self._outbox = outbox
        self._place = place
        self._left_out = left_out
        self._interval = interval
        self._told = outbox.steps_reported(place)
        self._next = time.monotonic() + interval
        self._worker = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def look(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write where it is time to, and the last writing is over.

        Args:
            rows: the metrics of all steps so far, each with its `step`.
        """
        busy = self._writing is not None and not self._writing.done()
        if busy or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._interval
        fresh = [
            {key: value for key, value in row.items() if key not in self._left_out}
            for row in rows
            if row["step"] > self._told
        ]
        if fresh:
            self._writing = self._worker.submit(self._write, curves(fresh))

    def close(self) -> None:
        """Wait for the last writing."""
        self._worker.shutdown()

    def _write(self, metrics: Sequence[Metric]) -> None:
        last = metrics[-1][2]
        self._outbox.add(TrackingEntry(self._place, f"metrics-{last:08}", now(), metrics=metrics))
        self._told = last
