"""What is settled when a run begins: its engine, and that the profile names the servers it asks."""

from __future__ import annotations

import sys
from typing import NamedTuple

from lidr.components.shared.config.engine_choice import choose_engine, choose_for, with_engine
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import EngineName, Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.json_files import read_object
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import recipe_key


class Begun(NamedTuple):
    """What a run begins with.

    Attributes:
        recipe: with the engine that `auto` stands for.
        note: which that is, and why; "" where the recipe says it itself.
    """

    recipe: Recipe
    note: str

    def say(self) -> None:
        """Tell the user of the engine, where there is anything to tell."""
        if self.note:
            print(f"lidr: note: {self.note}", file=sys.stderr)


def begin(
    recipe: Recipe,
    profile: Profile,
    store: Store | None = None,
    run: str = "",
    *,
    here: bool = False,
) -> Begun:
    """Settle which engine a run has.

    Args:
        recipe: what to learn.
        profile: where.
        store: where the run may have begun already; with `run`.
        run: its name, where one was given: it goes on with the engine it began with.
        here: whether this machine does the work, whatever the profile is for.

    Raises:
        BadInput: the recipe asks a server that the profile does not name.
    """
    _require_servers(recipe, profile)
    if recipe.generation.engine != "auto":
        return Begun(recipe, "")
    engine, reason = choose_engine(recipe) if here else choose_for(recipe, profile)
    if store and run and (known := _engine_of(store, run)):
        engine, reason = known, f"run {run} began with it"
    return Begun(with_engine(recipe, engine), f"engine: {engine}, because {reason}")


def _engine_of(store: Store, run: str) -> EngineName | None:
    if not store.exists(recipe_key(run)):
        return None
    started = read_object(store.read(recipe_key(run)), f"{store.uri}/{recipe_key(run)}", {})
    named = dict(started.get("generation") or {}).get("engine")
    return EngineName(named) if named in set(EngineName) else None


def _require_servers(recipe: Recipe, profile: Profile) -> None:
    if recipe.generation.engine == "openai" and not profile.engine.endpoint.url:
        raise BadInput(
            f"generation.engine is openai, but profile {profile.name} names no server",
            remedy="Set engine.endpoint.url in the profile.",
        )
    if recipe.judge and not profile.judge.url:
        raise BadInput(
            f"the recipe has a judge, but profile {profile.name} names no server",
            remedy="Set judge.url in the profile.",
        )
