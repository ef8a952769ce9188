"""Follows a run until it ends, through outages of Kubeflow and the store."""

from __future__ import annotations

import time
from collections.abc import Callable

from lidr.components.shared.core.retry import retry, unavailable
from lidr.pipelines.cluster.status import Watcher
from lidr.pipelines.status import Status

POLL_SECONDS = 5.0
RETRY_SECONDS = 600.0
"""Following gives up when requests have failed for this long; the run itself continues."""

_SERVICES = "Kubeflow or the store"


def follow(
    open_watcher: Callable[[], Watcher],
    show: Callable[[Status], None],
    poll_seconds: float = POLL_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
) -> Status:
    """Read a run's status until it has ended; return the last one.

    Args:
        open_watcher: finds the run.
        show: called with each status.
        poll_seconds: between two requests.
        retry_seconds: how long a failing request is repeated.

    Raises:
        Unavailable: Kubeflow or the store has not answered for `retry_seconds`.
    """
    watcher = retry(open_watcher, _SERVICES, unavailable, retry_seconds)
    while True:
        status = retry(watcher.read_status, _SERVICES, unavailable, retry_seconds)
        show(status)
        if status.ended:
            return status
        time.sleep(poll_seconds)
