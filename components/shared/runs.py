"""A run's folder on the store: its recipe, and a state for each iteration, pointers only."""

from __future__ import annotations

from typing import Any

from components.shared.errors import BadInput
from components.shared.marker import home_of
from components.shared.names import require_run_name
from components.shared.store import Store
from components.shared.written import Fields, read_object

FOLDER = "runs"

_STATE: Fields = {
    **dict.fromkeys(("model", "evaluation", "version", "verdict", "reason"), str),
    "iteration": int,
    "promoted": bool,
}
_PLACES = ("world", "responses", "translations", "pairs", "judgements", "decision", "finished")
_RESULT: Fields = {"iterations": list, "final_model": str, "report": str}


def state_key(run: str, iteration: int) -> str:
    """Return the store key of an iteration's state.

    Raises:
        BadInput: the run's name is none.
    """
    require_run_name(run)
    return f"{FOLDER}/{run}/iteration-{iteration}/state.json"


def recipe_key(run: str) -> str:
    """Return the store key of a run's resolved recipe.

    Raises:
        BadInput: the run's name is none.
    """
    require_run_name(run)
    return f"{FOLDER}/{run}/recipe.json"


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
    state = read_object(data, f"{store.uri}/{key}", _STATE, dict.fromkeys(_PLACES, str))
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
