"""A process beside a step that delivers to an MLflow server what waits in the run's outbox.

The step writes to its own store and never waits for MLflow; importing MLflow's client takes
seconds, which this process spends elsewhere. It lives as long as its standard input is open, so
that it ends with the step whatever ends that, and delivers once more before it goes.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lidr.components.shared.core.events import EVENTS_VARIABLE, emit, place_environment
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking.delivery import anything_waits, deliver

_INTERVAL = 10.0
_LAST_SECONDS = 15.0
_PATIENCE = 2.0
"""Seconds that a step in a pod, whose processes end with it, leaves the uploader at its end."""


@contextmanager
def uploader(store: str, run: str) -> Iterator[None]:
    """Deliver what waits in a run's outbox while the body goes on.

    Args:
        store: URI of the store.
        run: name of the run.
    """
    local = EVENTS_VARIABLE in os.environ
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, store, run],
        stdin=subprocess.PIPE,
        # Whoever reads a step's output would wait for the uploader to close it.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if local else None,
        env={**os.environ, **place_environment()},
        start_new_session=True,
    )
    try:
        yield
    finally:
        assert process.stdin is not None  # noqa: S101
        process.stdin.close()
        if not local:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
            process.kill()
            process.wait()


def main() -> None:
    """Deliver periodically until standard input closes, then flush."""
    store, run = open_store(sys.argv[1]), sys.argv[2]
    told, open_ = "", True
    while open_:
        open_ = not select.select([sys.stdin], [], [], _INTERVAL if told != "" else 0.5)[0]
        if not anything_waits(store, run):
            continue
        outcome = deliver(store, run, _LAST_SECONDS if not open_ else _INTERVAL)
        if outcome.problem and outcome.problem != told:
            emit("warning", message=f"{outcome.problem.rstrip('.')}. Notes for MLflow wait")
        told = outcome.problem or "delivered"


if __name__ == "__main__":
    main()
