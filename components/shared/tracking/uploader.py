"""A process beside a step that delivers the run's outbox to an MLflow server.

The step only writes to the store and never waits for MLflow; even importing MLflow's client takes
seconds. The process runs until its standard input closes, so that it ends with the step however the
step ends, and delivers once more before it exits.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.core.events import EVENTS_VARIABLE, emit, events_environment
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking.delivery import anything_waits, deliver

_INTERVAL_SECONDS = 10.0
_FLUSH_SECONDS = 15.0
_EXIT_SECONDS = 2.0
"""Time for which a step in a pod waits for the uploader's exit: the pod ends with the step."""


@contextmanager
def uploader(store: str, run: str) -> Iterator[None]:
    """Deliver a run's outbox in another process while the block runs."""
    local = EVENTS_VARIABLE in os.environ
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, store, run],
        stdin=subprocess.PIPE,
        # Whoever reads a step's output would wait for the uploader to close it.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if local else None,
        env={**os.environ, **events_environment()},
        start_new_session=True,
    )
    try:
        yield
    finally:
        assert process.stdin is not None  # noqa: S101
        process.stdin.close()
        if not local:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_SECONDS)
            process.kill()
            process.wait()


def main() -> None:
    """Deliver periodically until standard input closes, then flush."""
    store, run = open_store(sys.argv[1]), sys.argv[2]
    last, closed = "", False
    while not closed:
        closed = bool(select.select([sys.stdin], [], [], _INTERVAL_SECONDS if last else 0.5)[0])
        with contextlib.suppress(StoreError):  # what is wrong, the delivery says
            if not anything_waits(store, run):
                continue
        outcome = deliver(store, run, _FLUSH_SECONDS if closed else _INTERVAL_SECONDS)
        if outcome.problem and outcome.problem != last:
            emit("warning", message=f"{outcome.problem.rstrip('.')}. Notes for MLflow wait")
        last = outcome.problem or "delivered"


if __name__ == "__main__":
    main()
