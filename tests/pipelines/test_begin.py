"""What a run begins with is what it goes on with, whatever the day."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import CorruptStage, StoreUnavailable
from lidr.components.shared.inputs.fetch_plans import FetchPlan, fetch_plan
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.runs import recipe_key
from lidr.components.shared.store.stage import MARKER
from lidr.pipelines.begin import begin, inputs_of, located
from tests.fakes import make_recipe

PROFILE = Profile(name="here")


@pytest.mark.parametrize("given", ["", "mine"])
def test_a_run_that_goes_on_another_day_is_told_the_first(tmp_path: Path, given: str):
    store = LocalStore(tmp_path)
    first = begin(make_recipe(), PROFILE, store, given, today="2026-02-03")
    assert first.recipe.model.date == "2026-02-03"
    store.write(recipe_key(first.run), first.recipe.model_dump_json().encode())
    assert begin(make_recipe(), PROFILE, store, given, today="2026-02-04") == first
    other = begin(make_recipe(), PROFILE, store, "another", today="2026-02-04")
    assert other.recipe.model.date == "2026-02-04"


def test_the_day_does_not_name_a_run(tmp_path: Path):
    store = LocalStore(tmp_path)
    days = ("2026-02-03", "2026-02-04")
    assert len({begin(make_recipe(), PROFILE, store, today=day).run for day in days}) == 1


def test_a_recipe_s_own_day_stands(tmp_path: Path):
    recipe = make_recipe(model={"source": "toy", "date": "2020-01-01"})
    assert begin(recipe, PROFILE, LocalStore(tmp_path), today="2026-02-04").recipe == recipe


def test_outside_a_run_there_is_no_day(tmp_path: Path):
    assert begin(make_recipe(), PROFILE).recipe.model.date == ""
    assert begin(make_recipe(), PROFILE, LocalStore(tmp_path)).recipe.model.date == ""


ADDRESS = "hf://datasets/org/name@abc/prompts.jsonl"


def fetched(folder: Path) -> tuple[LocalStore, Recipe, FetchPlan]:
    """Return a store with a copy of the prompts, the recipe that names them, and their plan."""
    store = LocalStore(folder)
    files = dict.fromkeys(("en", "es", "de"), ADDRESS)
    recipe = make_recipe(model={"source": "hf://org/model@abc"}, prompts={"files": files})
    plan = fetch_plan(next(each for each in inputs_of(recipe) if each.source == ADDRESS), store)
    plan.stage.write("prompts.jsonl", b"{}")
    plan.stage.finish({})
    return store, recipe, plan


def test_store_that_is_away_is_no_store_without_the_inputs(tmp_path: Path, monkeypatch):
    store, recipe, plan = fetched(tmp_path)
    assert located(recipe, store).prompts.files["en"] == (plan.place,)
    exists = Path.is_file

    def away(path: Path) -> bool:
        if plan.stage.prefix in str(path):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return exists(path)

    monkeypatch.setattr(Path, "is_file", away)
    with pytest.raises(StoreUnavailable):
        located(recipe, store)


def test_damaged_copy_of_an_input_is_reported_and_not_replaced_by_its_source(tmp_path: Path):
    store, recipe, plan = fetched(tmp_path)
    store.write(plan.stage.key(MARKER), b"{}")
    remedy = rf"_SUCCESS is not a marker\. Delete {plan.stage.uri}, then fetch it again with `lidr"
    with pytest.raises(CorruptStage, match=rf"{ADDRESS}: .*{remedy}"):
        located(recipe, store)


def test_input_that_has_no_copy_for_a_fault_of_its_own_stays_where_it_is(tmp_path: Path):
    files = dict.fromkeys(("en", "es", "de"), ADDRESS)
    recipe = make_recipe(model={"source": "hf://org/unpinned"}, prompts={"files": files})
    assert located(recipe, LocalStore(tmp_path)) == recipe
