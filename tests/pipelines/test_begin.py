"""What a run begins with is what it goes on with, whatever the day."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, CorruptStage, StoreUnavailable
from lidr.components.shared.inputs.fetch_plans import FetchPlan, fetch_plan
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.runs import recipe_key
from lidr.components.shared.store.stage import MARKER
from lidr.pipelines.begin import begin, inputs_of, located
from lidr.pipelines.checks.finding import CheckInputs
from lidr.pipelines.checks.inputs import model_findings
from lidr.pipelines.cluster.submit import Submission, require_same_stamp
from tests.fakes import make_recipe

PROFILE = Profile(name="here")
ALONE = {"lora": {"rank": 4, "merge": False}}


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


@pytest.mark.parametrize(
    ("changes", "stage", "named"),
    [
        ({}, 3, "training.lora.merge"),
        ({}, 2, ""),
        ({"training": {"lora": {"rank": 4, "merge": True}}}, 3, ""),
        ({"gate": {"max_iterations": 1}}, 3, ""),
        ({"training": {**ALONE, "start": "base"}}, 3, "training.lora.merge"),
        ({"training": {**ALONE, "start": "base", "reference": "base"}}, 3, ""),
        ({"model": {"source": "s3://b/m", "adapter": "s3://b/a"}}, 3, "model.adapter"),
    ],
)
def test_adapters_beside_sharded_weights_are_refused_before_anything_is_computed(
    changes: dict[str, object], stage: int, named: str
):
    files = {code: f"s3://b/{code}.jsonl" for code in ("en", "es", "de")}
    prompts = {"prompts": {"files": files}} if "model" in changes else {}
    recipe = make_recipe(**({"training": ALONE, "gate": {"max_iterations": 2}} | prompts | changes))
    profile = Profile.model_validate({"name": "p", "training": {"zero": {"stage": stage}}})
    begin(recipe, profile, here=True)
    findings = (
        [
            each
            for each in model_findings(CheckInputs(recipe, profile, 60))
            if each.name == "adapters"
        ]
        if recipe.is_toy
        else None
    )
    if not named:
        begin(recipe, profile)
        assert not findings
        return
    with pytest.raises(BadInput, match=named) as refused:
        begin(recipe, profile)
    assert "training.zero.stage to 2 in the profile" in refused.value.remedy
    if findings is not None:
        assert [each.state for each in findings] == ["missing"]


def test_outside_a_run_there_is_no_day(tmp_path: Path):
    assert begin(make_recipe(), PROFILE).recipe.model.date == ""
    assert begin(make_recipe(), PROFILE, LocalStore(tmp_path)).recipe.model.date == ""


ADDRESS = "hf://datasets/org/name@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/prompts.jsonl"


def fetched(folder: Path) -> tuple[LocalStore, Recipe, FetchPlan]:
    """Return a store with a copy of the prompts, the recipe that names them, and their plan."""
    store = LocalStore(folder)
    files = dict.fromkeys(("en", "es", "de"), ADDRESS)
    recipe = make_recipe(
        model={"source": "hf://org/model@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
        prompts={"files": files},
    )
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


def submission(recipe: Recipe, store: LocalStore) -> Submission:
    begun = begin(recipe, PROFILE, store)
    return Submission(begun.recipe, PROFILE, begun.run, "", given=begun.given)


def submitted(of: Submission) -> SimpleNamespace:
    return SimpleNamespace(description=of.stamp.text())


def test_a_run_is_the_same_before_and_after_its_inputs_are_fetched(tmp_path: Path):
    store, recipe, plan = fetched(tmp_path / "store")
    before, after = submission(recipe, LocalStore(tmp_path / "empty")), submission(recipe, store)
    assert after.recipe.prompts.files["en"] == (plan.place,) != before.recipe.prompts.files["en"]
    assert (before.run, before.stamp) == (after.run, after.stamp)
    require_same_stamp(submitted(before), after)
    require_same_stamp(submitted(after), before)
    require_same_stamp(submitted(replace(after, given=None)), after)  # with the copies' places
    other = recipe.model_copy(update={"seed": 7})
    for changed in (submission(other, store), submission(other, LocalStore(tmp_path / "empty"))):
        with pytest.raises(BadInput, match="was submitted with another recipe"):
            require_same_stamp(submitted(before), changed)


def test_a_run_whose_local_items_changed_since_they_were_fetched_is_another(tmp_path: Path):
    items = tmp_path / "es.jsonl"
    evaluation = {"tasks": ["mgsm_paper_{language}"], "data": {"mgsm": str(items)}}
    recipe, store = make_recipe(evaluation=evaluation), LocalStore(tmp_path / "store")
    store.uri = "s3://bucket"  # what is local is copied there
    runs = []
    for text in ("", "first", "second"):  # not fetched yet, then fetched as it is
        items.write_text(text)
        if text:
            named = next(each for each in inputs_of(recipe) if each.source == str(items))
            plan = fetch_plan(named, store)
            plan.stage.write("es.jsonl", text.encode())
            plan.stage.finish({})
        runs.append(submission(recipe, store))
    absent, first, second = runs
    require_same_stamp(submitted(absent), first)
    require_same_stamp(submitted(first), first)
    with pytest.raises(BadInput, match="was submitted with another recipe"):
        require_same_stamp(submitted(first), second)
