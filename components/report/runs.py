"""The runs on a store: those of one registered model, and which stages a run has reused."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lidr.components.report.history import Counts, Round, models_of, read_history
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, LidrError, StoreError
from lidr.components.shared.core.text import one_line
from lidr.components.shared.steps import STATE_KEYS
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import FOLDER, read_run_recipe, read_state

_RECIPE = re.compile(rf"{FOLDER}/([^/]+)/recipe\.json")
_STATE = re.compile(rf"{FOLDER}/([^/]+)/iteration-(\d+)/state\.json")
_READERS = 16
"""Files read at the same time, as a store with many runs has thousands of states."""


@dataclass(frozen=True)
class Run:
    """A run that has evaluated M_0 at least, with the iterations that made a model."""

    name: str
    settings: Recipe
    rounds: list[Round]

    @property
    def finished(self) -> str:
        """When its last iteration with a model ended (UTC, ISO 8601); "" if not recorded."""
        return str(self.rounds[-1].state.get("finished", ""))


def read_run(store: Store, name: str) -> Run:
    """Return a run.

    Raises:
        BadInput: there is no such run, it has not evaluated M_0, or its recipe cannot be read.
        CorruptStage: a file of one of its stages is damaged.
    """
    rounds = models_of(read_history(store, name))
    settings = read_run_recipe(store, name)
    if settings is None:
        raise BadInput(
            f"run {name!r} in {store.uri} has no recipe.json",
            remedy="Restore it, or run the recipe again under another name.",
        )
    return Run(name, settings, rounds)


def runs_of_model(store: Store, model: str) -> tuple[list[Run], list[str]]:
    """Return a registered model's runs in the order they ended, and why others cannot be read.

    Args:
        store: where the runs are.
        model: the registered model's name, which is the recipe's unless `registry.model_name`
            says otherwise.

    Raises:
        BadInput: no run of the model can be read; the remedy names the models that have runs.
    """
    known: dict[str, list[str]] = defaultdict(list)
    unread = []
    found = [each for entry in store.list(FOLDER) if (each := _RECIPE.fullmatch(entry.key))]
    with ThreadPoolExecutor(_READERS) as pool:
        recipes = list(pool.map(store.read, (each[0] for each in found)))
    for each, recipe in zip(found, recipes, strict=True):
        try:
            known[_model_of(recipe)].append(each[1])
        except (ValueError, LookupError, TypeError, AttributeError):
            unread.append(f"{each[1]}: its recipe is not valid")
    runs = []
    for name in known.get(model, []):
        try:
            runs.append(read_run(store, name))
        except StoreError:
            raise
        except (LidrError, ValueError) as error:
            reason = error.message if isinstance(error, LidrError) else str(error)
            unread.append(f"{name}: {one_line(reason).rstrip('.')}")
    if not runs:
        there = ", ".join(sorted(known)) or "none"
        raise BadInput(
            f"no run of a model {model!r} in {store.uri} can be read"
            + (f": {'; '.join(unread)}" if unread else ""),
            remedy=f"Check --store and the name; there are runs of: {there}.",
        )
    return sorted(runs, key=lambda run: (run.finished, run.name)), unread


def reused(store: Store, run: str) -> frozenset[str]:
    """Return the URIs of a run's stages that an iteration of another run recorded first.

    If the other run did not record when its iteration ended, a stage counts as this run's own.
    """
    first: dict[str, tuple[str, str]] = {}
    own: set[str] = set()
    for name, state in _states(store, run):
        when = str(state.get("finished", "")) or ("" if name == run else "~")
        for uri in filter(None, (str(state.get(key, "")) for key in STATE_KEYS.values())):
            if name == run:
                own.add(uri)
            first[uri] = min(first.get(uri, ("~", "~")), (when, name))
    return frozenset(uri for uri in own if first[uri][1] != run)


def _states(store: Store, required: str) -> list[tuple[str, Counts]]:
    """Return all runs' states, each with its run; damaged ones of other runs are left out.

    Raises:
        BadInput: a state of the required run is damaged.
    """
    keys = (_STATE.fullmatch(entry.key) for entry in store.list(FOLDER))
    found = [(key[1], int(key[2])) for key in keys if key]

    def read(place: tuple[str, int]) -> Counts | None:
        name, iteration = place
        try:
            return read_state(store, name, iteration)
        except StoreError:
            raise
        except BadInput:
            if name == required:
                raise
            return None

    with ThreadPoolExecutor(_READERS) as pool:
        states = list(pool.map(read, found))
    return [(name, state) for (name, _), state in zip(found, states, strict=True) if state]


def _model_of(recipe: bytes) -> str:
    settings = json.loads(recipe)
    return str(settings.get("registry", {}).get("model_name") or settings["name"])
