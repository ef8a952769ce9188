"""Following a run until it ends, through outages of what is asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from components.shared.errors import Unavailable
from pipelines.cluster.status import Watcher
from pipelines.status import Status

POLL_SECONDS = 5.0
PATIENCE = 600.0
"""Seconds without any answer after which following is given up; the run itself goes on."""


def follow(
    watcher: Watcher,
    show: Callable[[Status], None],
    poll_seconds: float = POLL_SECONDS,
    patience: float = PATIENCE,
) -> Status:
    """Look at a run again and again until it has ended; return its last status.

    Args:
        watcher: of the run.
        show: takes each status.
        poll_seconds: between two looks.
        patience: seconds of failing looks after which it gives up.

    Raises:
        Unavailable: nobody has answered for so long.
    """
    answered = time.monotonic()
    while True:
        try:
            status = watcher.look()
        except Unavailable:
            if time.monotonic() - answered > patience:
                raise
        else:
            answered = time.monotonic()
            show(status)
            if status.ended:
                return status
        time.sleep(poll_seconds)
