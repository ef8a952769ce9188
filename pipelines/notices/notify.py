"""Sends the notice of a run's end; failing to do so fails no run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from lidr.components.shared.config.notify import NOTIFY_URL
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import (
    EXECUTION_VARIABLE,
    own_execution,
    read_failure,
    read_result,
)
from lidr.pipelines.notices.delivery import deliver, enqueue
from lidr.pipelines.notices.notice import Notice, of_end, of_failure


def notify_end(store: Store, run: str, *, well: bool) -> None:
    """Send the notice of a loop that has ended, if NOTIFY_URL is set.

    Args:
        store: that the run is on.
        run: its name.
        well: whether the loop ended well.
    """
    url = os.environ.get(NOTIFY_URL, "")
    if not url:
        return
    with errors_as_warnings():
        result = read_result(store, run) if well else None
        if result:
            send(store, of_end(run, result), url)
        elif not well:
            verb = "submit" if os.environ.get(EXECUTION_VARIABLE) else "run"
            execution = own_execution()
            failure = read_failure(store, run, execution)
            command = f"lidr {verb} RECIPE --run {run}"
            send(store, of_failure(run, execution, failure, command), url)


def send(store: Store, notice: Notice, url: str) -> None:
    """Enqueue a notice and deliver all that wait; log what could not be sent."""
    enqueue(store, notice)
    done = deliver(store, notice.run, url, wait=True)
    if done.left:
        emit("warning", message=f"{done.left} notice(s) wait for the next attempt: {done.reason}")


@contextmanager
def errors_as_warnings() -> Iterator[None]:
    """Turn errors into warnings: a run must not fail because of a notice."""
    try:
        yield
    except (LidrError, OSError, ValueError, KeyError, TypeError) as error:
        what = error.message if isinstance(error, LidrError) else type(error).__name__
        emit("warning", message=f"no notice was sent: {what}")
