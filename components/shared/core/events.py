"""Events that a step reports to its user: JSON Lines in a file, or plain lines on stderr.

`lidr run` sets LIDR_EVENTS to a file and draws its screen from it; in a pod the variable is absent
and the same events become log lines.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar

from lidr.components.shared.core.redaction import redacted
from lidr.components.shared.core.text import one_line

EVENTS_VARIABLE = "LIDR_EVENTS"

_POD_LOG_SECONDS = 10.0
"""Seconds between two lines of progress in a pod's log."""
_CONTEXT_VARIABLE = "LIDR_PLACE"

_reused: ContextVar[list[str] | None] = ContextVar("reused", default=None)
_context: ContextVar[dict[str, object]] = ContextVar(
    "context",
    default=json.loads(os.environ.get(_CONTEXT_VARIABLE, "{}")),  # noqa: B039
)
"""Values added to every event of the running step: its name and shard."""


@contextmanager
def adding_to_events(values: dict[str, object]) -> Iterator[None]:
    """Give every event reported inside the `with` block these values, such as the step's name.

    They take the place of an outer block's, or of the parent process's.
    """
    outside = _context.set(values)
    try:
        yield
    finally:
        _context.reset(outside)


@contextmanager
def noticing_reuse() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether a `reused` event has been reported so far."""
    found: list[str] = []
    outside = _reused.set(found)
    try:
        yield lambda: bool(found)
    finally:
        _reused.reset(outside)


def events_environment() -> dict[str, str]:
    """Return environment variables that give a child's events this step's name and shard."""
    return {_CONTEXT_VARIABLE: json.dumps(_context.get())}


_silent = False


def silence() -> None:
    """Report no more events from this process: of several ranks, only one reports."""
    global _silent
    _silent = True


_listener: Callable[[dict[str, object]], None] | None = None


@contextmanager
def listening(listener: Callable[[dict[str, object]], None]) -> Iterator[None]:
    """Pass this process's events to a function instead of writing them, inside the `with` block."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def emit(event: str, **values: object) -> None:
    """Report one event; a step's events carry its name and, where there are several, its shard.

    A step's outcome never depends on its events: one that cannot be written to the file, as on a
    full disk, goes to stderr, and is lost if that fails, too.

    Events are `started`, `progress` (done, total, unit, rate, rate_unit, amount, seconds_left,
    failures), `number` (name, value), `accuracy` (iteration, language, value, low, high, n,
    off_target, truncated), `judged` (iteration, task, language, value, low, high, n), `note`
    and `warning` (message), `reused`, `finished` (seconds) and `failed` (message, exit_code,
    unexpected).
    """
    reused = _reused.get()
    if event == "reused" and reused is not None:
        reused.append(event)
    if _silent:
        return
    values = {**_context.get(), **{key: _clean(value) for key, value in values.items()}}
    if _listener:
        _listener({"event": event, **values})
        return
    path = os.environ.get(EVENTS_VARIABLE)
    if path:
        line = json.dumps({"event": event, "time": round(time.time(), 3), **values}) + "\n"
        with suppress(OSError), open(path, "ab", buffering=0) as stream:
            stream.write(line.encode())  # one write: several processes append
            return
    details = " ".join(f"{key}={value}" for key, value in values.items())
    with suppress(OSError):
        print(f"lidr {event} {one_line(details)}", file=sys.stderr, flush=True)


def _clean(value: object) -> object:
    return redacted(value) if isinstance(value, str) else value


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)
"""The meter that `tick` reports to, as set by `Meter.watching`."""


def tick(amount: float = 0.0) -> None:
    """Report work on unfinished units to the meter that is watching, if any.

    Args:
        amount: in the meter's rate unit, e.g. tokens written; 0 only shows that work goes on.
    """
    if (meter := _meter.get()) is not None:
        meter.tick(amount)


class Meter:
    """Counts work and reports it at most twice a second (every 10 s in a pod log).

    A unit of work may take minutes. Inside `watching`, the worker calls `tick` as it goes, so that
    progress is reported long before a unit is finished.

    Args:
        total: number of units of work.
        unit: name of the units, e.g. "requests" or "steps".
        rate_unit: what the rate counts, e.g. "tokens"; "" reports no amount.
    """

    def __init__(self, total: int, unit: str, rate_unit: str = "") -> None:
        self.total = total
        self.unit = unit
        self.rate_unit = rate_unit
        self.done = 0
        self._finished = 0.0
        self._ticked = 0.0
        self._began = time.monotonic()
        self._interval = 0.5 if os.environ.get(EVENTS_VARIABLE) else _POD_LOG_SECONDS
        self._next = 0.0
        self._failures: Mapping[str, int] = {}

    @property
    def amount(self) -> float:
        """Total so far, in `rate_unit`: from `advance` or from `tick`, whichever is larger."""
        return max(self._finished, self._ticked)

    @property
    def rate(self) -> float:
        """Amount per second, averaged since the start."""
        return self.amount / max(time.monotonic() - self._began, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Estimated seconds to the end, from the pace so far; 0 before the first unit."""
        elapsed = time.monotonic() - self._began
        return elapsed / self.done * (self.total - self.done) if self.done else 0.0

    def advance(
        self, done: int = 1, amount: float = 0.0, failures: Mapping[str, int] | None = None
    ) -> None:
        """Add finished units and their amount.

        Args:
            done: number of units.
            amount: what they add, in `rate_unit`.
            failures: how many failed so far, by reason.
        """
        self.done += done
        self._finished += amount
        self._failures = failures or {}
        self._report(now=self.done >= self.total)

    def tick(self, amount: float) -> None:
        """Add an amount of unfinished units; `amount` does not count it twice after `advance`."""
        self._ticked += amount
        self._report(now=False)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Make the module's `tick` report to this meter, inside the `with` block."""
        outside = _meter.set(self)
        try:
            yield
        finally:
            _meter.reset(outside)

    def _report(self, *, now: bool) -> None:
        """Report progress if the interval has passed, or in any case with `now`."""
        moment = time.monotonic()
        if moment < self._next and not now:
            return
        self._next = moment + self._interval
        known: dict[str, object] = {"amount": round(self.amount)} if self.rate_unit else {}
        if self.done:
            known["seconds_left"] = round(self.seconds_left)
        if self._failures:
            known["failures"] = {str(key): n for key, n in sorted(self._failures.items())}
        emit(
            "progress",
            done=self.done,
            total=self.total,
            unit=self.unit,
            rate=round(self.rate, 1),
            rate_unit=self.rate_unit,
            **known,
        )
