"""Following a run until it ends, through outages of what is asked."""

from __future__ import annotations

import time
from collections.abc import Callable

from lidr.components.shared.core.retry import retry, unavailable
from lidr.pipelines.cluster.status import Watcher
from lidr.pipelines.status import Status

POLL_SECONDS = 5.0
RETRY_SECONDS = 600.0
"""Of failures after which following is given up; the run itself goes on."""


def follow(
    opened: Callable[[], Watcher],
    show: Callable[[Status], None],
    poll_seconds: float = POLL_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
) -> Status:
    """Look at a run again and again until it has ended; return its last status.

    Args:
        opened: finds the run, which is retried as a look at it is.
        show: takes each status.
        poll_seconds: between two looks.
        retry_seconds: of failing looks after which it gives up.

    Raises:
        Unavailable: nobody has answered for so long.
    """
    watcher = retry(opened, "what tells of the run", unavailable, retry_seconds)
    while True:
        status = retry(watcher.look, "the status of the run", unavailable, retry_seconds)
        show(status)
        if status.ended:
            return status
        time.sleep(poll_seconds)
