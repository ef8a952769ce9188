"""What is settled when a run begins: its engine, and that the profile names the servers it asks."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime
from typing import NamedTuple

from lidr.components.evaluate.items.published import published_items
from lidr.components.shared.config.engine_choice import choose_engine, choose_for, with_engine
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import EngineName, Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.json_files import read_object
from lidr.components.shared.inputs.fetched import fetched
from lidr.components.shared.inputs.fetching import plan_of, stays
from lidr.components.shared.inputs.named import Key, NamedInput, named_inputs, with_places
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import recipe_key


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
        if store and run and (known := _engine_of(_started(store, run))):
            engine, reason = known, f"run {run} began with it"
        recipe, note = with_engine(recipe, engine), f"engine: {engine}, because {reason}"
    name = recipe.run_name
    if store:
        started = _started(store, run or name)
        recipe = _on_its_day(located(recipe, store, started), started, today)
    return Begun(recipe, note, run or name, name)


def utc_day() -> str:
    """Return the day that it is now, in UTC."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _on_its_day(recipe: Recipe, started: dict[str, object], today: str) -> Recipe:
    """Return the recipe of a run with the day that its chats are told, which no resume changes."""
    if recipe.model.date:
        return recipe
    model = started.get("model")
    known = model.get("date") if isinstance(model, dict) else None
    day = known if isinstance(known, str) and known else today
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"date": day})})


def inputs_of(recipe: Recipe) -> list[NamedInput]:
    """Return every input of a recipe, what its tasks read where it is published included."""
    return [*named_inputs(recipe), *published_items(recipe)]


def located(recipe: Recipe, store: Store, started: dict[str, object] | None = None) -> Recipe:
    """Return a recipe that names the copies of its inputs that are in a store.

    Args:
        recipe: the one that was given.
        store: it.
        started: the recipe that the run began with, if it has: it reads on where it began.
    """
    return with_places(recipe, _places(recipe, store, started))


def _places(recipe: Recipe, store: Store, started: dict[str, object] | None) -> dict[Key, str]:
    if started:
        begun = {each.key: each.source for each in named_inputs(Recipe.model_validate(started))}
        return {key: place for key, place in begun.items() if fetched(place)}
    places = {}
    for each in inputs_of(recipe):
        with contextlib.suppress(BadInput):  # what reads the input says what is wrong with it
            if not stays(each, store) and (plan := plan_of(each, store)).stage.done():
                places[each.key] = plan.place
    return places


def _started(store: Store, run: str) -> dict[str, object]:
    """Return the recipe that a run began with; empty where it has not begun."""
    if not store.exists(recipe_key(run)):
        return {}
    started: dict[str, object] = read_object(
        store.read(recipe_key(run)), f"{store.uri}/{recipe_key(run)}", {}
    )
    return started


def _engine_of(started: dict[str, object]) -> EngineName | None:
    generation = started.get("generation")
    named = generation.get("engine") if isinstance(generation, dict) else None
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
