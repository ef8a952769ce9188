"""The decorator of every step: events, recipe, lease, GPU time, tracking, stages and failure."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import wraps
from typing import ParamSpec, TypeVar

from lidr.components.shared.core.errors import LidrError, failure_text
from lidr.components.shared.core.events import (
    EVENTS_VARIABLE,
    adding_to_events,
    emit,
    noticing_reuse,
)
from lidr.components.shared.core.redaction import redact_exception
from lidr.components.shared.core.retry import answering_quickly
from lidr.components.shared.run_lease import task_lease
from lidr.components.shared.steps import step_named
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import resolve_recipe
from lidr.components.shared.store.runs import forget_recovered, note_failure, note_stages
from lidr.components.shared.store.usage import counting_gpus
from lidr.components.shared.tracking.step_tracking import track_step

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def step(name: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Report when a step starts, ends or fails, and record its stages and its failure in its run.

    A step that has a `run` among its arguments is tracked as part of that run; see
    components/shared/tracking.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(function)
        def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            began = time.monotonic()
            with adding_to_events({"step": name, **_shard(kwargs)}):
                emit("started", iteration=kwargs.get("iteration", -1))
                try:
                    if "recipe" in kwargs:
                        store, recipe = str(kwargs["store"]), str(kwargs["recipe"])
                        kwargs["recipe"] = resolve_recipe(store, recipe)
                    with _in_run(name, kwargs) as note:
                        result = function(*args, **kwargs)
                        _note_stages(name, kwargs, result)
                        note(result)
                    _note_outcome(name, kwargs)
                    emit("finished", seconds=round(time.monotonic() - began, 2))
                except Exception as error:
                    redact_exception(error)  # the caller prints the traceback
                    _report_failure(error)
                    _note_outcome(name, kwargs, error)
                    raise
            return result

        return run

    return decorate


@contextmanager
def _in_run(name: str, arguments: Mapping[str, object]) -> Iterator[Callable[[object], None]]:
    """Hold the run's lease, count GPU time, track the step; yield a function for its result."""
    with (
        ExitStack() as until_end,
        _leased(name, arguments),
        _counted(name, arguments),
        _tracked(name, arguments) as note,
    ):
        try:
            yield note
        except BaseException:  # the step keeps its GPUs until all is written or given up
            until_end.enter_context(answering_quickly())
            raise


def _report_failure(error: Exception) -> None:
    """Report why the step fails; the log has the traceback of an unexpected error."""
    if isinstance(error, LidrError):
        emit("failed", message=str(error), exit_code=error.exit_code)
    else:
        emit("failed", unexpected=True, message=failure_text(error), exit_code=LidrError.exit_code)


def _note_stages(name: str, arguments: Mapping[str, object], result: object) -> None:
    if not step_named(name).noted or not arguments.get("run"):
        return
    uris = result if isinstance(result, tuple) else (result,)
    note_stages(
        open_store(str(arguments["store"])),
        str(arguments["run"]),
        int(str(arguments["iteration"])),
        [str(uri) for uri in uris if uri],
    )


def _note_outcome(
    name: str, arguments: Mapping[str, object], error: Exception | None = None
) -> None:
    """Record why a step failed; after a success, delete the record of its earlier failure.

    If the store fails, that is only reported, and soon: the step's GPUs are idle.
    """
    if not arguments.get("run") or not arguments.get("store"):
        return
    run, shard = str(arguments["run"]), str(_shard(arguments).get("shard", ""))
    try:
        with answering_quickly():
            store = open_store(str(arguments["store"]))
            iteration = int(str(arguments.get("iteration", -1)))
            if error is None:
                forget_recovered(store, run, name, iteration, shard)
            else:
                note_failure(store, run, name, iteration, error, shard)
    except Exception as second:  # neither changes how the step has ended
        problem = (
            "could not record on the store why the step failed"
            if error
            else "could not check the store for an earlier failure of this step"
        )
        emit("note", message=f"{problem}: {second}")


def _counted(name: str, arguments: Mapping[str, object]) -> AbstractContextManager[None]:
    """Count the GPU time of a step of a run."""
    if not step_named(name).gpus or not arguments.get("run"):
        return nullcontext()
    store, iteration = open_store(str(arguments["store"])), arguments.get("iteration", 0)
    return counting_gpus(store, str(arguments["run"]), int(str(iteration)), name)


@contextmanager
def _leased(name: str, arguments: Mapping[str, object]) -> Iterator[None]:
    """Keep other executions of the run out; `lidr run` does it for all of its steps."""
    execution = os.environ.get("KFP_RUN_ID", "")
    if not arguments.get("run") or not execution or EVENTS_VARIABLE in os.environ:
        yield
        return
    with task_lease(name, str(arguments["store"]), str(arguments["run"]), execution):
        yield


@contextmanager
def _tracked(name: str, arguments: Mapping[str, object]) -> Iterator[Callable[[object], None]]:
    """Track a step of a run; a step that is called outside a run is not tracked."""
    if not arguments.get("run"):
        yield lambda result: None
        return
    with noticing_reuse() as reused, track_step(name, arguments, reused) as note:
        yield note


def _shard(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return the shard of a step that several workers share: `{"shard": "2/3"}`, or nothing."""
    shards = arguments.get("shards", 1)
    if shards == 1 or "shard" not in arguments:
        return {}
    return {"shard": f"{int(str(arguments['shard'])) + 1}/{shards}"}
