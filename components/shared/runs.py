"""A run's folder on the store: its recipe, and a state for each iteration, pointers only."""

from __future__ import annotations

import json
from typing import Any

from components.shared.errors import BadInput
from components.shared.marker import home_of
from components.shared.names import require_run_name
from components.shared.store import Store

FOLDER = "runs"


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
        BadInput: the iteration has not ended.
    """
    try:
        state: dict[str, Any] = json.loads(store.read(state_key(run, iteration)))
    except FileNotFoundError as error:
        raise BadInput(
            f"run {run!r} in {store.uri} has no iteration {iteration}",
            remedy="Check --store and the run's name, or run the recipe again.",
        ) from error
    except ValueError as error:
        raise BadInput(
            "not JSON", file=f"{store.uri}/{state_key(run, iteration)}", remedy="Run it again."
        ) from error
    return {
        name: home_of(store, value) if isinstance(value, str) else value
        for name, value in state.items()
    }


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
