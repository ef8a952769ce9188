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
    verb = "submit" if os.environ.get(EXECUTION_VARIABLE) else "run"
    with errors_as_warnings("no notice was sent"):
        if notice := end_notice(store, run, own_execution(), verb, well=well):
            send(store, notice, url)


def end_notice(store: Store, run: str, execution: str, verb: str, *, well: bool) -> Notice | None:
    """Return the notice of an end; None if a run that ended well has no result on the store.

    Args:
        store: that the run is on.
        run: its name.
        execution: which of its executions has ended.
        verb: of lidr's command that resumes the run: `run` or `submit`.
        well: whether the loop ended well.

    Raises:
        BadInput: the result, or the record of the failure, is damaged.
    """
    if well:
        result = read_result(store, run)
        return of_end(run, result) if result else None
    failure = read_failure(store, run, execution)
    return of_failure(run, execution, failure, f"lidr {verb} RECIPE --run {run}")


def send(store: Store, notice: Notice, url: str) -> None:
    """Enqueue a notice and deliver all that wait; log what could not be sent."""
    enqueue(store, notice)
    done = deliver(store, notice.run, url, wait=True)
    if done.left:
        emit("warning", message=f"{done.left} notice(s) wait for the next attempt: {done.reason}")


@contextmanager
def errors_as_warnings(what: str) -> Iterator[None]:
    """Turn errors into warnings: one of a notice fails no run, one of a run no other's check.

    The unexpected ones are those of files that others remove or change meanwhile.

    Args:
        what: the warning's first words, e.g. `no notice was sent`.
    """
    try:
        yield
    except (LidrError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        why = error.message if isinstance(error, LidrError) else type(error).__name__
        emit("warning", message=f"{what}: {why}")
