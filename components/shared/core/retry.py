"""Retries failed requests to services: the object store, MLflow, the Kubernetes API, the hub.

Kubeflow Pipelines does not retry a container that exits non-zero, so a step retries by itself: with
growing pauses, for LIDR_RETRY_SECONDS. A wait is reported after 20 seconds.
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
"""Environment variable: seconds for which a failing request is repeated. Default 900."""

_DEFAULT_SECONDS = 900.0
_COMMAND_SECONDS = 15.0
_FIRST_PAUSE, _MAX_PAUSE = 0.2, 30.0
REPORT_SECONDS = 20.0
"""Seconds after which a wait is reported."""

Result = TypeVar("Result")
Explain = Callable[[Exception], LidrError | None]
"""Returns the error to raise in the end if another attempt may succeed, or None if none will.

It may also raise a clearer error itself."""

_answering_quickly = False
_reported: set[str] = set()
_lock = Lock()


@contextmanager
def answering_quickly() -> Iterator[None]:
    """Retry for 15 seconds at most inside the `with` block, where a person or a GPU waits.

    Waits that other threads have begun are shortened as well, unless they were given `seconds`.
    """
    global _answering_quickly
    before, _answering_quickly = _answering_quickly, True
    try:
        yield
    finally:
        _answering_quickly = before


def retry_seconds() -> float:
    """Return for how many seconds this process retries a service that fails.

    Raises:
        BadInput: LIDR_RETRY_SECONDS is not a number of seconds.
    """
    setting = os.environ.get(RETRY_VARIABLE) or str(_DEFAULT_SECONDS)
    try:
        seconds = float(setting)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise BadInput(
            f"{RETRY_VARIABLE} is {setting!r}",
            remedy=f"Set it to seconds, e.g. {_DEFAULT_SECONDS:g}.",
        )
    return min(seconds, _COMMAND_SECONDS) if _answering_quickly else seconds


def unavailable(error: Exception) -> LidrError | None:
    """Retry on `Unavailable` alone: an `Explain` for code that raises lidr's own errors."""
    return error if isinstance(error, Unavailable) else None


def retry(
    action: Callable[[], Result],
    service: str,
    explain: Explain,
    seconds: float | None = None,
    *,
    long: bool = False,
) -> Result:
    """Call a function that uses a service, and repeat it while its errors may be temporary.

    Args:
        action: safe to repeat.
        service: its name for messages, e.g. "the object store at http://s3:8333".
        explain: tells temporary errors from others.
        seconds: time from the first failure to the last attempt; by default `retry_seconds()`.
        long: whether an answer may take minutes, so that only failures are reported.

    Raises:
        LidrError: from `explain`, once the time is over.
        Exception: the function's own error, if `explain` returns None for it.
    """
    return Wait(service, seconds, long=long).call(action, explain)


@contextmanager
def report_wait(message: str) -> Iterator[None]:
    """Report a message if the `with` block takes longer than 20 seconds."""
    tell = partial(copy_context().run, emit, "note", message=message)
    timer = Timer(REPORT_SECONDS, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Wait:
    """One request to a service, repeated until it is answered; see `retry`."""

    def __init__(self, service: str, seconds: float | None = None, *, long: bool = False) -> None:
        self._service = service
        self._seconds = retry_seconds() if seconds is None else seconds
        self._by_default = seconds is None
        self._last_progress = monotonic()
        self._long = long
        self._problem: LidrError | None = None
        self._failures = 0
        self._end = math.inf
        self._reported_since: float | None = None
        self._ended = Event()

    def note_progress(self, amount: int = 0) -> None:
        """Put off the report of a wait: the request makes progress. `amount` is not used.

        Without effect after a failure, when only a complete answer counts, and with `long`.
        """
        if self._problem is None:
            self._last_progress = monotonic()

    def call(self, action: Callable[[], Result], explain: Explain) -> Result:
        """Call and repeat `action` as `retry` does; each `Wait` is for one call."""
        with self._watched():
            while True:
                try:
                    return action()
                except Exception as error:
                    pause = self.pause_after(error, explain)
                sleep(pause)

    async def call_async(self, action: Callable[[], Awaitable[Result]], explain: Explain) -> Result:
        """Do what `call` does, in a coroutine."""
        with self._watched():
            while True:
                try:
                    return await action()
                except Exception as error:
                    pause = self.pause_after(error, explain)
                await asyncio.sleep(pause)

    def pause_after(self, error: Exception, explain: Explain) -> float:
        """Return the seconds until the next attempt; raise what ends the wait.

        Only for a library that calls and repeats the request itself.
        """
        problem = explain(error)
        if problem is None:
            raise error
        now = monotonic()
        if self._long and self._problem is None:
            self._last_progress = now
        self._problem = problem
        seconds = retry_seconds() if self._by_default else self._seconds  # it may be less by now
        self._end = min(self._end, now + seconds)
        if now >= self._end:
            if problem is error:
                raise error
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
                    _reported.discard(self._service)
        if self._reported_since is not None:
            waited = monotonic() - self._reported_since
            emit("note", message=f"{self._service} answers again, after {waited:.0f} s")

    def _watch(self) -> None:
        """Report a wait of 20 seconds, unless another thread has reported the same service."""
        while (left := self._seconds_to_report()) > 0:
            if self._ended.wait(left):
                return
        with _lock:
            if self._service in _reported or self._ended.is_set():
                return
            _reported.add(self._service)
            self._reported_since = self._last_progress
        waited = f"for {_duration(REPORT_SECONDS)}"
        what = f"{self._service} has not answered {waited}"
        if self._problem:
            what = f"{self._problem.message.rstrip('.')} ({waited} now)"
        asked = f"; asking again for up to {_duration(self._seconds)}" if self._seconds else ""
        emit("warning", message=f"{what}{asked}")

    def _seconds_to_report(self) -> float:
        """Return the seconds until the wait is reported; a long request must fail first."""
        working = self._long and self._problem is None
        return REPORT_SECONDS if working else self._last_progress + REPORT_SECONDS - monotonic()


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.3g} minutes" if seconds >= 120 else f"{seconds:g} s"
