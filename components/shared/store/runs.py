"""A run's folder on the store: its recipe, and for each iteration its stages and its state.

It only points to models and data, which are in stages. Steps that are `noted` write
`iteration-<t>/stages/<step>.json` as they end, the step `state` writes `iteration-<t>/state.json`.
`failure.json` has the reason of the last failure.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, LidrError, failure_text
from lidr.components.shared.core.json_files import Fields, read_object
from lidr.components.shared.core.names import require_run_name
from lidr.components.shared.steps import STATE_KEYS
from lidr.components.shared.store.base import Store, read_json
from lidr.components.shared.store.marker import current_uri

FOLDER = "runs"

PROMOTIONS = "promotions"
"""Folder of what `lidr promote --evaluate` leaves; like a run's, but without recipe and state."""

EXECUTION_VARIABLE = "KFP_RUN_ID"
"""Environment variable with the id of the KFP run, the same in all of its pods."""

LOCAL_EXECUTION = "LIDR_EXECUTION"
"""Environment variable that distinguishes executions of `lidr run` with the same run name."""

_STATE: Fields = {
    **dict.fromkeys(("model", "evaluation", "version", "verdict", "reason"), str),
    "iteration": int,
    "promoted": bool,
}
_OPTIONAL_STATE = ("finished", *(key for key in STATE_KEYS.values() if key not in _STATE))
_STAGE_URI = re.compile(r"/stages/[^/]+/[^/]+/?$")
_FAILURE: Fields = {
    **dict.fromkeys(("step", "message", "execution"), str),
    "iteration": int,
}
_RESULT: Fields = {"iterations": list, "final_model": str, "report": str}


def state_key(run: str, iteration: int) -> str:
    """Return the store key of an iteration's state; see `run_key`."""
    return run_key(run, f"iteration-{iteration}/state.json")


def run_key(run: str, name: str) -> str:
    """Return the store key of a file, or a folder, of a run.

    Raises:
        BadInput: the run's name is invalid.
    """
    require_run_name(run)
    return f"{FOLDER}/{run}/{name}"


def recipe_key(run: str) -> str:
    """Return the store key of a run's resolved recipe; see `run_key`."""
    return run_key(run, "recipe.json")


def overview_key(run: str) -> str:
    """Return the store key of a run's report without samples, small enough to embed."""
    return run_key(run, "overview.html")


def read_run_recipe(store: Store, run: str) -> Recipe | None:
    """Return the recipe that a run began with; None if it has not begun.

    Raises:
        BadInput: the file is not a recipe.
    """
    key = recipe_key(run)
    if not store.exists(key):
        return None
    try:
        return Recipe.model_validate_json(store.read(key))
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        what = f"{where}: {found['msg']}" if where else found["msg"]
        raise BadInput(
            f"is not the recipe of a run: {what}",
            file=f"{store.uri}/{key}",
            remedy="Restore it, or run the recipe again under another name.",
        ) from error


def note_admission(store: Store, run: str, admission: Mapping[str, Any]) -> None:
    """Record the admission of a run's M_0 (`Admission.to_dict`)."""
    store.write(_admission_key(run), json.dumps(dict(admission)).encode())


def read_admission(store: Store, run: str) -> list[dict[str, Any]]:
    """Return the findings about a run's M_0; empty if none were recorded."""
    admission = read_json(store, _admission_key(run), {"findings": list})
    return list(admission["findings"]) if admission else []


def _admission_key(run: str) -> str:
    return run_key(run, "admission.json")


def note_stages(store: Store, run: str, iteration: int, uris: Iterable[str]) -> None:
    """Record the stages that a step has ended with, under the t of the model that it works for.

    Each URI of a stage names its step; URIs of anything else are skipped.
    """
    for uri in filter(_STAGE_URI.search, uris):
        text = json.dumps({"stage": uri}).encode()
        store.write(f"{_stages_prefix(run, iteration)}/{step_of(uri)}.json", text)


def read_stages(store: Store, run: str, iteration: int) -> dict[str, str]:
    """Return the URIs of the stages that an iteration's steps have ended with, by step.

    Raises:
        BadInput: a note is damaged, or names no stage.
    """
    found = {}
    for entry in store.list(_stages_prefix(run, iteration)):
        place = f"{store.uri}/{entry.key}"
        note = read_object(store.read(entry.key), place, {"stage": str})
        if not _STAGE_URI.search(note["stage"]):
            raise BadInput(
                "has a field 'stage' that names no stage",
                file=place,
                remedy="It was damaged or edited: restore it, or remove it and run again.",
            )
        uri = current_uri(store, note["stage"])
        found[step_of(uri)] = uri
    return found


def step_of(uri: str) -> str:
    """Return the step in a stage's URI, `<store>/stages/<step>/<digest>`."""
    return uri.rstrip("/").split("/")[-2]


def _stages_prefix(run: str, iteration: int) -> str:
    return run_key(run, f"iteration-{iteration}/stages")


def own_execution() -> str:
    """Return the id of the KFP run, or of the `lidr run`, that this process belongs to; else ""."""
    return os.environ.get(EXECUTION_VARIABLE) or os.environ.get(LOCAL_EXECUTION, "")


def note_failure(
    store: Store, run: str, step: str, iteration: int, error: BaseException, shard: str = ""
) -> None:
    """Record why a step failed, for the report and for `lidr status`.

    Args:
        store: holds the run.
        run: its name.
        step: the step's name.
        iteration: the t of the model it worked for, -1 for none.
        error: the reason.
        shard: which of several workers it was, e.g. `2/3`; "" for a single one.
    """
    failure = {
        "step": step,
        "iteration": iteration,
        "shard": shard,
        "message": failure_text(error),
        "expected": isinstance(error, LidrError),
        "execution": own_execution(),
    }
    store.write(_failure_key(run), json.dumps(failure).encode())


def read_failure(store: Store, run: str, execution: str = "") -> dict[str, Any] | None:
    """Return the last failure of a step: `step`, `iteration`, `message`; None if there is none.

    With an `execution` (see `own_execution`) it must be a failure of that one.
    """
    failure = read_json(store, _failure_key(run), _FAILURE)
    return failure if failure and execution in ("", failure["execution"]) else None


def forget_failure(store: Store, run: str) -> None:
    """Delete the record of a failure: the run has ended well."""
    store.delete(_failure_key(run))


def forget_recovered(store: Store, run: str, step: str, iteration: int, shard: str = "") -> None:
    """Delete the record of a failure if the same work of this execution has now succeeded.

    The arguments are those of `note_failure`.
    """
    failure = read_failure(store, run) or {}
    failed = [failure.get(key) for key in ("execution", "step", "iteration", "shard")]
    if failed == [own_execution(), step, iteration, shard]:
        forget_failure(store, run)


def note_scheduled(store: Store, run: str) -> None:
    """Record the run that `watch` chose in this KFP run; the exit task reads it."""
    store.write(_scheduled_key(), json.dumps({"run": run}).encode())


def scheduled_run(store: Store, execution: str = "") -> str:
    """Return the run that `watch` chose in a KFP run; "" if it found nothing new.

    Args:
        store: holds the record.
        execution: the KFP run's id; "" for this process's.
    """
    note = read_json(store, _scheduled_key(execution), {"run": str})
    return str(note["run"]) if note else ""


def forget_scheduled(store: Store) -> None:
    """Delete the record of `watch`'s choice: the KFP run has ended."""
    store.delete(_scheduled_key())


def _scheduled_key(execution: str = "") -> str:
    return f"scheduled/{execution or os.environ.get(EXECUTION_VARIABLE) or 'local'}.json"


def _failure_key(run: str) -> str:
    return run_key(run, "failure.json")


def read_state(store: Store, run: str, iteration: int) -> dict[str, Any]:
    """Return an iteration's state, with the URIs that its stages have now (`current_uri`).

    Raises:
        BadInput: the iteration has not ended, or the file is not a state.
    """
    key = state_key(run, iteration)
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        raise BadInput(
            f"run {run!r} in {store.uri} has no iteration {iteration}",
            remedy="Check --store and the run's name, or run the recipe again.",
        ) from error
    state = read_object(data, f"{store.uri}/{key}", _STATE, dict.fromkeys(_OPTIONAL_STATE, str))
    return {
        name: current_uri(store, value) if isinstance(value, str) else value
        for name, value in state.items()
    }


def read_result(store: Store, run: str) -> dict[str, Any] | None:
    """Return a run's result; None if it has not ended.

    Raises:
        BadInput: the file is not a result.
    """
    return read_json(store, f"{FOLDER}/{run}/result.json", _RESULT)


def run_names(store: Store) -> list[str]:
    """Return the names of the runs on a store that have finished iteration 0 at least."""
    end = "/iteration-0/state.json"
    keys = [entry.key for entry in store.list(FOLDER) if entry.key.endswith(end)]
    return [key.removeprefix(f"{FOLDER}/").removesuffix(end) for key in keys]


def read_states(store: Store, run: str) -> list[dict[str, Any]]:
    """Return the states of a run's finished iterations, from iteration 0 on."""
    states: list[dict[str, Any]] = []
    while store.exists(state_key(run, len(states))):
        states.append(read_state(store, run, len(states)))
    return states
