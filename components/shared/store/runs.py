"""A run's folder on the store: its recipe, and for each iteration its stages and its state.

Pointers only. `iteration-<t>/stages/<step>.json` is written by each step as it ends, and
`iteration-<t>/state.json` when the whole iteration has; `failure.json` says why a step failed last.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.core.json_files import Fields, read_object
from lidr.components.shared.core.names import require_run_name
from lidr.components.shared.steps import STATE_KEYS
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.marker import home_of

FOLDER = "runs"

EXECUTION_VARIABLE = "KFP_RUN_ID"
"""Environment variable that every pod of one KFP run has alike."""

_STATE: Fields = {
    **dict.fromkeys(("model", "evaluation", "version", "verdict", "reason"), str),
    "iteration": int,
    "promoted": bool,
}
_OPTIONAL = ("finished", *(key for key in STATE_KEYS.values() if key not in _STATE))
_STAGE = re.compile(r"/stages/[^/]+/[^/]+/?$")
_FAILURE: Fields = {
    **dict.fromkeys(("step", "message", "execution"), str),
    "iteration": int,
}
_RESULT: Fields = {"iterations": list, "final_model": str, "report": str}


def state_key(run: str, iteration: int) -> str:
    """Return the store key of an iteration's state.

    Raises:
        BadInput: the run's name is none.
    """
    return run_key(run, f"iteration-{iteration}/state.json")


def run_key(run: str, name: str) -> str:
    """Return the store key of a file, or a folder, of a run.

    Raises:
        BadInput: the run's name is none.
    """
    require_run_name(run)
    return f"{FOLDER}/{run}/{name}"


def recipe_key(run: str) -> str:
    """Return the store key of a run's resolved recipe; see `run_key`."""
    return run_key(run, "recipe.json")


def overview_key(run: str) -> str:
    """Return the store key of a run's report without its samples, small enough to be embedded."""
    return run_key(run, "overview.html")


def read_run_recipe(store: Store, run: str) -> Recipe | None:
    """Return the recipe that a run began with; None where it has not begun.

    Raises:
        BadInput: the file is no recipe.
    """
    key = recipe_key(run)
    if not store.exists(key):
        return None
    try:
        return Recipe.model_validate_json(store.read(key))
    except ValidationError as error:
        raise BadInput(
            f"is not the recipe of a run: {error.errors()[0]['msg']}",
            file=f"{store.uri}/{key}",
            remedy="Restore it, or run the recipe again under another name.",
        ) from error


def note_admission(store: Store, run: str, admission: Mapping[str, Any]) -> None:
    """Write down what was decided about a run's M_0 (`Admission.to_dict`)."""
    store.write(_admission_key(run), json.dumps(dict(admission)).encode())


def read_admission(store: Store, run: str) -> list[dict[str, Any]]:
    """Return the findings about a run's M_0; none where none were noted."""
    key = _admission_key(run)
    try:
        told = read_object(store.read(key), f"{store.uri}/{key}", {"findings": list})
    except FileNotFoundError:
        return []
    return list(told["findings"])


def _admission_key(run: str) -> str:
    return run_key(run, "admission.json")


def note_stages(store: Store, run: str, iteration: int, uris: Iterable[str]) -> None:
    """Write down which stages a step of an iteration has ended with.

    Args:
        store: that the run is on.
        run: its name.
        iteration: t of the model the step works for.
        uris: of the stages; the step that made one is named in its address. What is no stage's
            address is left out.
    """
    for uri in filter(_STAGE.search, uris):
        text = json.dumps({"stage": uri}).encode()
        store.write(f"{_stages_prefix(run, iteration)}/{step_of(uri)}.json", text)


def read_stages(store: Store, run: str, iteration: int) -> dict[str, str]:
    """Return the URIs of the stages that an iteration's steps have ended with, by step."""
    found = {}
    for entry in store.list(_stages_prefix(run, iteration)):
        told = read_object(store.read(entry.key), f"{store.uri}/{entry.key}", {"stage": str})
        uri = home_of(store, told["stage"])
        found[step_of(uri)] = uri
    return found


def step_of(uri: str) -> str:
    """Return the step that a stage's address names: `<store>/stages/<step>/<digest>`."""
    return uri.rstrip("/").split("/")[-2]


def _stages_prefix(run: str, iteration: int) -> str:
    return state_key(run, iteration).replace("state.json", "stages")


def note_failure(store: Store, run: str, step: str, iteration: int, error: BaseException) -> None:
    """Write down why a step failed, for the report and for `lidr status`.

    Args:
        store: that the run is on.
        run: its name.
        step: its name.
        iteration: t of the model it worked for; -1 for none.
        error: what it raised.
    """
    told = {
        "step": step,
        "iteration": iteration,
        "message": str(error) or type(error).__name__,
        "expected": isinstance(error, LidrError),
        "execution": os.environ.get(EXECUTION_VARIABLE, ""),
    }
    store.write(_failure_key(run), json.dumps(told).encode())


def read_failure(store: Store, run: str, execution: str = "") -> dict[str, Any] | None:
    """Return why a step failed last: `step`, `iteration`, `message`; None where none did.

    Args:
        store: that the run is on.
        run: its name.
        execution: id of the KFP run whose failure it must be; "" for whichever was last.
    """
    key = _failure_key(run)
    try:
        told: dict[str, Any] = read_object(store.read(key), f"{store.uri}/{key}", _FAILURE)
    except FileNotFoundError:
        return None
    return told if execution in ("", told["execution"]) else None


def forget_failure(store: Store, run: str) -> None:
    """Remove the note of a failure: the run has come to its end."""
    store.delete(_failure_key(run))


def note_scheduled(store: Store, run: str) -> None:
    """Write down which run the look of this KFP run has chosen; its exit task asks for it."""
    store.write(_scheduled_key(), json.dumps({"run": run}).encode())


def scheduled_run(store: Store) -> str:
    """Return the run that the look of this KFP run has chosen; "" where it found nothing new."""
    key = _scheduled_key()
    try:
        told = read_object(store.read(key), f"{store.uri}/{key}", {"run": str})
    except FileNotFoundError:
        return ""
    return str(told["run"])


def forget_scheduled(store: Store) -> None:
    """Remove the note of a choice: the KFP run has come to its end."""
    store.delete(_scheduled_key())


def _scheduled_key() -> str:
    return f"scheduled/{os.environ.get(EXECUTION_VARIABLE) or 'local'}.json"


def _failure_key(run: str) -> str:
    return run_key(run, "failure.json")


def read_state(store: Store, run: str, iteration: int) -> dict[str, Any]:
    """Return an iteration's state, its stages where they are now: a store may have moved.

    Raises:
        BadInput: the iteration has not ended, or the file is no state.
    """
    key = state_key(run, iteration)
    try:
        data = store.read(key)
    except FileNotFoundError as error:
        raise BadInput(
            f"run {run!r} in {store.uri} has no iteration {iteration}",
            remedy="Check --store and the run's name, or run the recipe again.",
        ) from error
    state = read_object(data, f"{store.uri}/{key}", _STATE, dict.fromkeys(_OPTIONAL, str))
    return {
        name: home_of(store, value) if isinstance(value, str) else value
        for name, value in state.items()
    }


def read_result(store: Store, run: str) -> dict[str, Any] | None:
    """Return a run's result; None where it has not come to its end.

    Raises:
        BadInput: the file is no result.
    """
    key = f"{FOLDER}/{run}/result.json"
    try:
        result: dict[str, Any] = read_object(store.read(key), f"{store.uri}/{key}", _RESULT)
    except FileNotFoundError:
        return None
    return result


def run_names(store: Store) -> list[str]:
    """Return the names of the runs on a store that have at least measured their start."""
    end = "/iteration-0/state.json"
    keys = [entry.key for entry in store.list(FOLDER) if entry.key.endswith(end)]
    return [key.removeprefix(f"{FOLDER}/").removesuffix(end) for key in keys]


def read_states(store: Store, run: str) -> list[dict[str, Any]]:
    """Return the states of a run's iterations, from the start to the last one that ended."""
    states: list[dict[str, Any]] = []
    while store.exists(state_key(run, len(states))):
        states.append(read_state(store, run, len(states)))
    return states
