"""What a step tells its user: events, as JSON Lines in a file, or as plain lines on stderr.

`lidr run` sets LIDR_EVENTS and draws its screen from the file; in a pod the variable is absent and
the same events become log lines.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec, TypeVar

from components.shared.errors import LidrError
from components.shared.redaction import cleanse, redacted
from components.shared.text import one_line

EVENTS_VARIABLE = "LIDR_EVENTS"
_PLACE_VARIABLE = "LIDR_PLACE"

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def step(name: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorate a step's function: its start, end and failure become events, and facts of its run.

    A step that has a `run` among its arguments is tracked as part of that run; see
    components/shared/tracking.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(function)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            began = time.monotonic()
            outside = _place.set({"step": name, **_shard(kwargs)})
            emit("started", iteration=kwargs.get("iteration", -1))
            try:
                _resolve_recipe(kwargs)
                with _leased(name, kwargs), _followed(name, kwargs) as note:
                    result = function(*args, **kwargs)
                    _note_stages(name, kwargs, result)
                    note(result)
                emit("finished", seconds=round(time.monotonic() - began, 2))
            except Exception as error:
                cleanse(error)  # whoever runs the step prints the traceback
                if isinstance(error, LidrError):
                    emit("failed", message=str(error), exit_code=error.exit_code)
                _note_failure(name, kwargs, error)
                raise
            finally:
                _place.reset(outside)
            return result

        return run

    return decorate


_NOTED = ("generate", "translate", "merge", "pair", "train", "evaluate", "judge")
"""Steps of an iteration whose stages the end of the iteration looks for."""


def _resolve_recipe(arguments: dict[str, object]) -> None:
    """Put the recipe itself in the place of its reference."""
    if "recipe" in arguments:
        from components.shared.recipe_store import resolve_recipe

        arguments["recipe"] = resolve_recipe(str(arguments["store"]), str(arguments["recipe"]))


def _note_stages(name: str, arguments: Mapping[str, object], result: object) -> None:
    if name not in _NOTED or not arguments.get("run"):
        return
    from components.shared.runs import note_stages
    from components.shared.store import open_store

    uris = result if isinstance(result, tuple) else (result,)
    note_stages(
        open_store(str(arguments["store"])),
        str(arguments["run"]),
        int(str(arguments["iteration"])),
        map(str, uris),
    )


def _note_failure(name: str, arguments: Mapping[str, object], error: Exception) -> None:
    """Leave why a step failed on the store; what it failed at may be the store itself."""
    if not arguments.get("run") or not arguments.get("store"):
        return
    from components.shared.runs import note_failure
    from components.shared.store import open_store

    try:
        store = open_store(str(arguments["store"]))
        iteration = int(str(arguments.get("iteration", -1)))
        note_failure(store, str(arguments["run"]), name, iteration, error)
    except (LidrError, ValueError) as second:
        emit("note", message=f"why it failed is not noted on the store: {second}")


@contextmanager
def _leased(name: str, arguments: Mapping[str, object]) -> Iterator[None]:
    """Keep other executions of the run out; `lidr run` does it for all of its steps."""
    execution = os.environ.get("KFP_RUN_ID", "")
    if not arguments.get("run") or not execution or EVENTS_VARIABLE in os.environ:
        yield
        return
    from components.shared.run_lease import task_lease

    with task_lease(name, str(arguments["store"]), str(arguments["run"]), execution):
        yield


@contextmanager
def _followed(name: str, arguments: Mapping[str, object]) -> Iterator[Callable[[object], None]]:
    """Track a step of a run; a step that is called for itself belongs to none."""
    if not arguments.get("run"):
        yield lambda result: None
        return
    from components.shared.tracking.following import following

    found: list[str] = []
    outside = _reused.set(found)
    try:
        with following(name, arguments, lambda: bool(found)) as note:
            yield note
    finally:
        _reused.reset(outside)


_reused: ContextVar[list[str] | None] = ContextVar("reused", default=None)
"""Takes a word when the running step finds its work done."""


_place: ContextVar[dict[str, object]] = ContextVar(
    "place",
    default=json.loads(os.environ.get(_PLACE_VARIABLE, "{}")),  # noqa: B039
)
"""What every event of a running step says about where it comes from."""


def place_environment() -> dict[str, str]:
    """Return the environment in which a child process's events are those of the running step."""
    return {_PLACE_VARIABLE: json.dumps(_place.get())}


def _shard(arguments: Mapping[str, object]) -> dict[str, object]:
    """Name the shard of a step that several workers do: `{"shard": "2/3"}`."""
    shards = arguments.get("shards", 1)
    if shards == 1 or "shard" not in arguments:
        return {}
    return {"shard": f"{int(str(arguments['shard'])) + 1}/{shards}"}


_silent = False


def silence() -> None:
    """Report nothing from here on: this process is one of several, and another one speaks."""
    global _silent
    _silent = True


_listener: Callable[[dict[str, object]], None] | None = None


@contextmanager
def listening(listener: Callable[[dict[str, object]], None]) -> Iterator[None]:
    """Hand the events of this process to a function meanwhile, instead of writing them."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def emit(event: str, **values: object) -> None:
    """Report one event; those of a step carry its name and, where there are several, its shard.

    Events are `started`, `progress` (done, total, rate, unit, failures), `number` (name, value),
    `accuracy` (iteration, language, value, low, high, n, off_target), `judged` (iteration, task,
    language, value, low, high, n), `note` and `warning` (message), `reused`, `finished` (seconds)
    and `failed` (message, exit_code).
    """
    reused = _reused.get()
    if event == "reused" and reused is not None:
        reused.append(event)
    if _silent:
        return
    values = {**_place.get(), **{key: _told(value) for key, value in values.items()}}
    if _listener:
        _listener({"event": event, **values})
        return
    path = os.environ.get(EVENTS_VARIABLE)
    if path:
        line = json.dumps({"event": event, "time": round(time.time(), 3), **values}) + "\n"
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
        return
    details = " ".join(f"{key}={value}" for key, value in values.items())
    print(f"lidr {event} {one_line(details)}", file=sys.stderr, flush=True)


def _told(value: object) -> object:
    return redacted(value) if isinstance(value, str) else value


class Meter:
    """Counts work and reports it at most twice a second (every 30 s in a pod log).

    Args:
        total: units of work in all.
        unit: what is counted, e.g. "requests" or "steps".
        rate_unit: what the rate counts, e.g. "tokens".
    """

    def __init__(self, total: int, unit: str, rate_unit: str = "") -> None:
        self.total = total
        self.unit = unit
        self.rate_unit = rate_unit
        self.done = 0
        self._amount = 0.0
        self._began = time.monotonic()
        self._interval = 0.5 if os.environ.get(EVENTS_VARIABLE) else 30.0
        self._next = 0.0

    @property
    def rate(self) -> float:
        """Amount per second since the start."""
        return self._amount / max(time.monotonic() - self._began, 1e-9)

    @property
    def seconds_left(self) -> float:
        """Estimated seconds to the end, from the pace so far."""
        elapsed = time.monotonic() - self._began
        return elapsed / self.done * (self.total - self.done) if self.done else 0.0

    def advance(
        self, done: int = 1, amount: float = 0.0, failures: Mapping[str, int] | None = None
    ) -> None:
        """Add finished units, and the amount that the rate counts.

        Args:
            done: units.
            amount: what the rate counts.
            failures: how many failed so far, by reason.
        """
        self.done += done
        self._amount += amount
        now = time.monotonic()
        if now < self._next and self.done < self.total:
            return
        self._next = now + self._interval
        emit(
            "progress",
            done=self.done,
            total=self.total,
            unit=self.unit,
            rate=round(self.rate, 1),
            rate_unit=self.rate_unit,
            seconds_left=round(self.seconds_left),
            **(
                {"failures": {str(key): failures[key] for key in sorted(failures)}}
                if failures
                else {}
            ),
        )
