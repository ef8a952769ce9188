"""The runs on a store: those of one registered model, and stages that a run has reused."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass

from lidr.components.report.history import Counts, Round, models_of, read_history
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.core.text import one_line
from lidr.components.shared.steps import STATE_KEYS
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import read_states, run_key, run_names

_RECIPE = re.compile(r"runs/([^/]+)/recipe\.json")


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
        BadInput: there is no such run, or it has not evaluated M_0.
    """
    rounds = models_of(read_history(store, name))
    return Run(name, Recipe.model_validate_json(store.read(run_key(name, "recipe.json"))), rounds)


def runs_of_model(store: Store, model: str) -> tuple[list[Run], list[str]]:
    """Return a registered model's runs in the order they ended, and why others are not readable.

    Args:
        store: where the runs are.
        model: the registered model's name, which is the recipe's unless `registry.model_name`
            says otherwise.

    Raises:
        BadInput: no run of it can be read; the message names the models there are.
    """
    known: dict[str, list[str]] = defaultdict(list)
    unread = []
    for entry in store.list("runs"):
        if found := _RECIPE.fullmatch(entry.key):
            try:
                known[_model_of(store.read(entry.key))].append(found[1])
            except (ValueError, KeyError, TypeError):
                unread.append(f"{found[1]}: its recipe is not valid")
    runs = []
    for name in known.get(model, []):
        try:
            runs.append(read_run(store, name))
        except StoreError:
            raise
        except (BadInput, ValueError) as error:
            reason = error.message if isinstance(error, BadInput) else str(error)
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

    Where the other run has not recorded when its iteration ended, a stage counts as this run's own.
    """
    first: dict[str, tuple[str, str]] = {}
    own: set[str] = set()
    for name in run_names(store):
        for state in _states_of(store, name, required=name == run):
            when = str(state.get("finished", "")) or ("" if name == run else "~")
            for uri in filter(None, (str(state.get(key, "")) for key in STATE_KEYS.values())):
                if name == run:
                    own.add(uri)
                first[uri] = min(first.get(uri, ("~", "~")), (when, name))
    return frozenset(uri for uri in own if first[uri][1] != run)


def _states_of(store: Store, run: str, *, required: bool) -> list[Counts]:
    """Return a run's states; none of a damaged run, unless it is required."""
    try:
        return read_states(store, run)
    except StoreError:
        raise
    except BadInput:
        if required:
            raise
        return []


def _model_of(recipe: bytes) -> str:
    settings = json.loads(recipe)
    return str(settings.get("registry", {}).get("model_name") or settings["name"])
