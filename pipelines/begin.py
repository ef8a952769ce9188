"""What is settled when a run begins: its engine, and that the profile names the servers it asks."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime
from typing import NamedTuple

from lidr.components.evaluate.items.published import published_items
from lidr.components.shared.config.engine_choice import choose_engine, choose_for, with_engine
from lidr.components.shared.config.generation import EngineName
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.inputs.fetch_plans import plan_of
from lidr.components.shared.inputs.fetched import fetched
from lidr.components.shared.inputs.fetching import stays
from lidr.components.shared.inputs.named import Key, NamedInput, named_inputs, with_places
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import read_run_recipe


class Begun(NamedTuple):
    """What a run begins with.

    Attributes:
        recipe: with the engine that `auto` stands for, with its inputs in the store where
            `lidr fetch` has brought them there and, of a run, with the day on which it began.
        note: which engine that is, and why; "" where the recipe says it itself.
        run: the run's name.
        name: the one that runs of equal recipes share, wherever they read their inputs.
    """

    recipe: Recipe
    note: str
    run: str
    name: str

    def say(self) -> None:
        """Report the chosen engine, if there was a choice."""
        if self.note:
            print(f"lidr: note: {self.note}", file=sys.stderr)


def begin(
    recipe: Recipe,
    profile: Profile,
    store: Store | None = None,
    run: str = "",
    *,
    here: bool = False,
    today: str = "",
) -> Begun:
    """Settle which engine a run has, where it reads its inputs, and what day its chats are told.

    Args:
        recipe: what to learn.
        profile: where.
        store: where the run may have begun already; None where there is no run.
        run: its name, where one was given: it goes on with the engine it began with.
        here: whether this machine does the work, whatever the profile is for.
        today: the day that a run is told which begins now; "" where none does.

    Raises:
        BadInput: the recipe asks a server that the profile does not name.
    """
    _require_servers(recipe, profile)
    note = ""
    if recipe.generation.engine == "auto":
        engine, reason = choose_engine(recipe) if here else choose_for(recipe, profile)
        started = read_run_recipe(store, run) if store and run else None
        if started and (known := _engine_of(started)):
            engine, reason = known, f"run {run} began with it"
        recipe, note = with_engine(recipe, engine), f"engine: {engine}, because {reason}"
    name = recipe.run_name
    if store:
        started = read_run_recipe(store, run or name)
        recipe = _on_its_day(located(recipe, store, started), started, today)
    return Begun(recipe, note, run or name, name)


def utc_day() -> str:
    """Return the day that it is now, in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _on_its_day(recipe: Recipe, started: Recipe | None, today: str) -> Recipe:
    """Return the recipe of a run with the day that its chats are told, which no resume changes."""
    if recipe.model.date:
        return recipe
    day = (started.model.date if started else "") or today
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"date": day})})


def inputs_of(recipe: Recipe) -> list[NamedInput]:
    """Return every input of a recipe, what its tasks read where it is published included."""
    return [*named_inputs(recipe), *published_items(recipe)]


def located(recipe: Recipe, store: Store, started: Recipe | None = None) -> Recipe:
    """Return a recipe that names the copies of its inputs that are in a store.

    Args:
        recipe: the one that was given.
        store: it.
        started: the recipe that the run began with, if it has: it reads on where it began.
    """
    return with_places(recipe, _places(recipe, store, started))


def _places(recipe: Recipe, store: Store, started: Recipe | None) -> dict[Key, str]:
    named = inputs_of(recipe)
    if started:
        asked = {each.key for each in named}
        begun = {each.key: each.source for each in named_inputs(started) if each.key in asked}
        return {key: place for key, place in begun.items() if fetched(place)}
    places = {}
    for each in named:
        with contextlib.suppress(BadInput):  # what reads the input says what is wrong with it
            if not stays(each, store) and (plan := plan_of(each, store)).stage.done():
                places[each.key] = plan.place
    return places


def _engine_of(started: Recipe) -> EngineName | None:
    named = started.generation.engine
    return None if named == "auto" else EngineName(named)


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
