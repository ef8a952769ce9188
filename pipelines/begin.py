"""Settles what a run begins with: its engine, the places of its inputs, and its day."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from lidr.components.evaluate.limits import languages_reading, published_items
from lidr.components.shared.config.engine_choice import (
    choose_engine,
    choose_engine_for,
    with_engine,
)
from lidr.components.shared.config.generation import EngineName
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import on_this_machine
from lidr.components.shared.core.errors import BadInput, DamagedObject, StoreError
from lidr.components.shared.inputs.fetch_plans import fetch_plan
from lidr.components.shared.inputs.fetched import find_fetched
from lidr.components.shared.inputs.fetching import is_left_in_place
from lidr.components.shared.inputs.named import InputKind, NamedInput, named_inputs, with_sources
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.runs import read_run_recipe
from lidr.pipelines.trainable import require_trainable


class Begun(NamedTuple):
    """What a run begins with.

    Attributes:
        given: the recipe with the engine chosen for `auto`, and its sources as the user gave them.
        recipe: the same, but with the copies of its inputs that `lidr fetch` has put into the
            store and, for a run, with the day on which it began.
        note: which engine was chosen, and why; "" if the recipe names one.
        run: the run's name.
        default_run: the name that runs of equal recipes share, wherever they read their inputs.
    """

    given: Recipe
    recipe: Recipe
    note: str
    run: str
    default_run: str

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
    scheduled: bool = False,
) -> Begun:
    """Settle a run's engine, where it reads its inputs, and the day in its chat templates.

    Args:
        recipe: what to learn.
        profile: where to run.
        store: where the run may have begun already, and copies of inputs may be; None to look for
            neither.
        run: its name, if one was given; a run keeps the engine that it began with.
        here: whether this machine only evaluates models, whatever the profile is for.
        today: the day of a run that begins now; "" if no run begins now.
        scheduled: whether this is a schedule, whose runs begin later under longer names; nothing is
            taken over from a run that has the schedule's own name.

    Raises:
        BadInput: the recipe needs a server that the profile does not name, or a model that its
            training cannot read.
        StoreError: the store cannot be read.
        CorruptStage, DamagedObject: a copy of an input there is damaged.
    """
    _require_servers(recipe, profile)
    if not here:  # evaluations and promotions train nothing
        require_trainable(recipe, profile)
    note = ""
    runs = None if scheduled else store
    if recipe.generation.engine == "auto":
        engine, reason = choose_engine(recipe) if here else choose_engine_for(recipe, profile)
        started = read_run_recipe(runs, run) if runs and run else None
        if started and started.generation.engine != "auto":
            engine, reason = EngineName(started.generation.engine), f"run {run} began with it"
        recipe, note = with_engine(recipe, engine), f"engine: {engine}, because {reason}"
    given, default_run = recipe, recipe.run_name
    if store:
        started = read_run_recipe(runs, run or default_run) if runs else None
        recipe = _dated(located(recipe, store, started), started, today)
    return Begun(given, recipe, note, run or default_run, default_run)


def utc_day() -> str:
    """Return the current day in UTC, as YYYY-MM-DD."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def _dated(recipe: Recipe, started: Recipe | None, today: str) -> Recipe:
    """Return a run's recipe with the day in its chat templates, which no resume changes."""
    if recipe.model.date:
        return recipe
    day = (started.model.date if started else "") or today
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"date": day})})


def inputs_of(recipe: Recipe) -> list[NamedInput]:
    """Return every input of a recipe, with the published data that its evaluation tasks read."""
    named = [
        replace(each, languages=languages_reading(recipe, str(each.key[-1])) or each.languages)
        if each.kind is InputKind.ITEMS
        else each
        for each in named_inputs(recipe)
    ]
    return [*named, *published_items(recipe)]


def located(recipe: Recipe, store: Store, started: Recipe | None = None) -> Recipe:
    """Return a recipe that names the copies of its inputs that are in a store.

    Args:
        recipe: as given.
        store: holds the copies.
        started: the recipe that the run began with, if any; the run keeps its inputs' places.

    Raises:
        StoreError: the store cannot be read.
        CorruptStage, DamagedObject: a copy there is damaged.
    """
    named = inputs_of(recipe)
    if started:
        keys = {each.key for each in named}
        begun = {each.key: each.source for each in named_inputs(started) if each.key in keys}
        return with_sources(recipe, {key: uri for key, uri in begun.items() if find_fetched(uri)})
    places = {}
    for each in named:
        try:
            if not is_left_in_place(each, store) and (plan := fetch_plan(each, store)).is_there():
                places[each.key] = plan.place
        except (StoreError, DamagedObject):  # the source must not silently replace its copy
            raise
        except BadInput:  # what reads the input reports the problem
            continue
    return with_sources(recipe, places)


def with_pinned_as_given(recipe: Recipe, given: Recipe) -> Recipe:
    """Return `given`, but with the places that `recipe` has for local inputs.

    `lidr fetch` does not change the result by copying inputs whose addresses pin their content. A
    local file may have changed, which only the place of its copy shows.

    Args:
        recipe: with the places of its copies, from `located`.
        given: the recipe that `recipe` was made from.
    """
    places = {each.key: each.source for each in named_inputs(recipe)}
    local = [each.key for each in named_inputs(given) if on_this_machine(each.source)]
    return with_sources(given, {key: places[key] for key in local})


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
