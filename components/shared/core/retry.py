"""Retries of requests to services that fail: the object store, MLflow, the Kubernetes API, the hub.

Kubeflow Pipelines does not retry a container that exits non-zero, so a step asks again itself: with
growing pauses, for LIDR_RETRY_SECONDS, and it says so once it has waited for 20 seconds.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from threading import Event, Lock, Thread, Timer
from time import monotonic, sleep
from typing import TypeVar

from lidr.components.shared.core.errors import BadInput, LidrError, Unavailable
from lidr.components.shared.core.events import emit

RETRY_VARIABLE = "LIDR_RETRY_SECONDS"
"""Seconds for which a step asks a service again that fails. Default 900."""

_DEFAULT_SECONDS = 900.0
_COMMAND_SECONDS = 15.0
_FIRST_PAUSE, _MAX_PAUSE = 0.2, 30.0
REPORT_SECONDS = 20.0
"""After which a wait is reported."""

Result = TypeVar("Result")
Explain = Callable[[Exception], LidrError | None]
"""Returns the error to end with where another attempt may succeed; None where none will. It may
also raise what says better why."""

_commands = False
_reported: set[str] = set()
_lock = Lock()


@contextmanager
def answering_quickly() -> Iterator[None]:
    """Give up within seconds inside: a person waits for this command."""
    global _commands
    before, _commands = _commands, True
    try:
        yield
    finally:
        _commands = before


def retry_seconds() -> float:
    """Return how long this process retries a service that fails.

    Raises:
        BadInput: LIDR_RETRY_SECONDS is no number of seconds.
    """
    setting = os.environ.get(RETRY_VARIABLE) or str(_DEFAULT_SECONDS)
    try:
        seconds = float(setting)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadInput(
            f"{RETRY_VARIABLE} is {setting!r}",
            remedy=f"Set it to seconds, as {_DEFAULT_SECONDS:g}.",
        )
    return min(seconds, _COMMAND_SECONDS) if _commands else seconds


def unavailable(error: Exception) -> LidrError | None:
    """Explain the errors of code that raises `Unavailable` itself; see `Explain`."""
    return error if isinstance(error, Unavailable) else None


def retry(
    action: Callable[[], Result],
    who: str,
    explain: Explain,
    seconds: float | None = None,
    *,
    long: bool = False,
) -> Result:
    """Do something with a service, repeatedly while it fails in a way that may pass.

    Args:
        action: may be repeated without harm.
        who: the service, e.g. "the object store at http://s3:8333".
        explain: tells errors that may pass from those that will not.
        seconds: for which it may fail; by default `retry_seconds()`.
        long: its answer may take minutes, so that only failures are reported.

    Raises:
        LidrError: from `explain`, once the time is over.
    """
    return Wait(who, seconds, long=long).call(action, explain)


@contextmanager
def reported(message: str) -> Iterator[None]:
    """Report what is waited for inside, once that has lasted for 20 seconds."""
    tell = partial(copy_context().run, emit, "note", message=message)
    timer = Timer(REPORT_SECONDS, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Wait:
    """One request of a service until it is answered; see `retry`."""

    def __init__(self, who: str, seconds: float | None = None, *, long: bool = False) -> None:
        self._who = who
        self._seconds = retry_seconds() if seconds is None else seconds
        self._alive = monotonic()
        self._long = long
        self._problem: LidrError | None = None
        self._failures = 0
        self._end = math.inf
        self._reported_since: float | None = None
        self._ended = Event()

    def alive(self, amount: int = 0) -> None:
        """Note that a long answer makes progress.

        Args:
            amount: of bytes, which boto3 tells.
        """
        if self._problem is None:  # what has failed counts once it is whole
            self._alive = monotonic()

    def call(self, action: Callable[[], Result], explain: Explain) -> Result:
        """Do it, see `retry`; once for each `Wait`."""
        with self._watched():
            while True:
                try:
                    return action()
                except Exception as error:
                    pause = self._pause_after(error, explain)
                sleep(pause)

    async def call_async(self, action: Callable[[], Awaitable[Result]], explain: Explain) -> Result:
        """Do it, as `call` does, in a coroutine."""
        with self._watched():
            while True:
                try:
                    return await action()
                except Exception as error:
                    pause = self._pause_after(error, explain)
                await asyncio.sleep(pause)

    def _pause_after(self, error: Exception, explain: Explain) -> float:
        """Return the seconds until the next attempt; raise what ends the wait."""
        problem = explain(error)
        if problem is None:
            raise error
        now = monotonic()
        if self._long and self._problem is None:
            self._alive = now
        self._problem = problem
        self._end = min(self._end, now + self._seconds)
        if now >= self._end:
            raise problem from error
        pause = min(_MAX_PAUSE, _FIRST_PAUSE * 2**self._failures)
        self._failures += 1
        return min(random.uniform(pause / 2, pause), self._end - now)

    @contextmanager
    def _watched(self) -> Iterator[None]:
        Thread(target=copy_context().run, args=(self._watch,), daemon=True).start()
        try:
            yield
        finally:
            with _lock:
                self._ended.set()
                if self._reported_since is not None:
                    _reported.discard(self._who)
        if self._reported_since is not None:
            waited = monotonic() - self._reported_since
            emit("note", message=f"{self._who} answers again, after {waited:.0f} s")

    def _watch(self) -> None:
        """Report a wait of 20 seconds, unless another thread has reported the same service."""
        while (left := self._left()) > 0:
            if self._ended.wait(left):
                return
        with _lock:
            if self._who in _reported or self._ended.is_set():
                return
            _reported.add(self._who)
            self._reported_since = self._alive
        waited = f"for {_duration(REPORT_SECONDS)}"
        what = f"{self._who} has not answered {waited}"
        if self._problem:
            what = f"{self._problem.message.rstrip('.')} ({waited} now)"
        asked = f"asking again for up to {_duration(self._seconds)}"
        emit("warning", message=f"{what}; {asked}")

    def _left(self) -> float:
        """Return the seconds until the wait is to be reported."""
        working = self._long and self._problem is None
        return REPORT_SECONDS if working else self._alive + REPORT_SECONDS - monotonic()


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds >= 120 else f"{seconds:g} s"
