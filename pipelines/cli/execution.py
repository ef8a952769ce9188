"""Runs a pipeline on this machine for a command, until it ends or a signal stops it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import typer

from lidr.components.shared.config.notify import NOTIFY_URL
from lidr.components.shared.core.errors import BadInput, LidrError, TakenOver
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import LOCAL_EXECUTION
from lidr.pipelines.cli.screen import open_screen
from lidr.pipelines.local import execute
from lidr.pipelines.notices.local import notify_failure, with_notices

if TYPE_CHECKING:
    from lidr.components.shared.config.notify import Notify
    from lidr.components.shared.config.recipe import Recipe
    from lidr.pipelines.local import LocalJob


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked this process to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def execute_here(recipe: Recipe, job: LocalJob, notify: Notify | None = None) -> None:
    """Run a job in this terminal.

    Args:
        recipe: what to learn.
        job: the execution.
        notify: which notices to send while it runs, and if it fails; None to send none.

    Raises:
        BadInput: the run is being executed by another process, here or elsewhere.
        LidrError: a step failed.
        typer.Exit: a signal stopped the run; the code is 128 plus the signal's number.
    """
    url = os.environ.get(NOTIFY_URL, "") if notify else ""
    try:
        with _interruptible(), open_screen(recipe, job.run) as watch:
            if not notify or not url:
                execute(job, watch)
            else:
                execute(job, with_notices(watch, open_store(job.store), job.run, notify, url))
    except Interrupted as interruption:
        print("lidr: stopped; running the same command again continues from here", file=sys.stderr)
        raise typer.Exit(128 + interruption.number) from None
    except (BadInput, TakenOver):  # no step has begun, or another execution has the run
        raise
    except LidrError:
        if url:
            execution = dict(job.settings)[LOCAL_EXECUTION]
            notify_failure(open_store(job.store), job.run, execution, url)
        raise


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise `Interrupted` on the first signal; ignore later ones, as the process is ending."""
    former = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in former.items():
        if handler is not signal.SIG_IGN:  # nohup ignores SIGHUP; a script's `&` ignores SIGINT
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in former.items():
            if signal.getsignal(number) is _interrupt:
                signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise Interrupted(number)
