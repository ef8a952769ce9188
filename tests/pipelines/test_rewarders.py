"""Rewarders and the pipeline: what a rewarder does not need is not in the graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.stage import open_stage
from lidr.pipelines.checks.capacity import requests_of
from lidr.pipelines.cli.inputs import read_profile, read_recipe
from lidr.pipelines.compiled import compile_loop
from lidr.pipelines.planning.estimate import PlanInputs, estimate
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.requests import Lengths, PlannedPrompts, Requests, read_prompts
from lidr.pipelines.planning.shapes import model_config
from tests.layers import layer
from tests.pipelines.conftest import FakeWorld
from tests.pipelines.test_cli import main
from tests.pipelines.test_plan import LLAMA
from tests.yaml_text import read_documents, read_yaml

SAMPLES = ["generation.samples=3", "generation.temperature=1"]
SETTINGS = {
    "lidr": [],
    "icr": [*SAMPLES, "pairing={rewarder: icr, icr: {reference: /models/before}}"],
    "judge": [*SAMPLES, "pairing.rewarder=judge", "judge={endpoint: {model: j}}"],
}
NEEDED = {"lidr": "translate", "icr": "score", "judge": "grade"}
OTHERS = ["pair", "train", "evaluate", "gate", "register"]


def recipe(name: str, base: str = "tiny_world") -> Recipe:
    return read_recipe(base, None, SETTINGS[name])


def sets(name: str) -> list[str]:
    return [part for setting in SETTINGS[name] for part in ("--set", setting)]


def executors(name: str, **profile: object) -> dict[str, Any]:
    """Return the containers of a compiled loop by component."""
    settings = Profile.model_validate({"name": "here", **profile})
    text = compile_loop(recipe(name), settings, "mine", 2)
    pipeline = next(read_documents(text))
    found = pipeline["deploymentSpec"]["executors"]
    return {label.removeprefix("exec-"): each["container"] for label, each in found.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_pipeline_holds_the_one_step_that_its_rewarder_needs(name: str):
    assert set(NEEDED.values()) & set(executors(name)) == {NEEDED[name]}
    assert "judge" not in executors(name), "no model's answers are judged"


@pytest.mark.parametrize("name", SETTINGS)
def test_shards_are_followed_by_what_is_no_work_of_an_engine(name: str):
    cluster = {"runner": "kubeflow", "shards": 3, "training": {"launcher": "trainjob"}}
    found = set(executors(name, **cluster))
    assert "roll-out" in found and "generate" not in found
    assert found & {"score", "grade"} == {NEEDED[name]} - {"translate"}


def test_scores_are_computed_in_the_training_image_on_the_generating_gpus():
    gpus = {"pool": "h100", "accelerators": 1}
    cluster = {
        "runner": "kubeflow",
        "pools": {"h100": {"gpu": "H100"}},
        "steps": {"generate": gpus, "train": gpus | {"accelerators": 8}},
        "images": {"train": "r/train:1", "generate": "r/generate:1", "control": "r/control:1"},
    }
    score, grade = (executors(name, **cluster)[step] for name, step in [*NEEDED.items()][1:])
    assert score["image"] == "r/train:1"
    assert score["resources"]["accelerator"]["resourceCount"] == "1"
    assert grade["image"] == "r/control:1"
    assert "accelerator" not in grade["resources"]


def test_capacity_asks_for_the_kinds_of_step_that_there_are():
    profile = read_profile("cluster")
    for name, absent in (("lidr", "score"), ("icr", "translate"), ("judge", "score")):
        asked = requests_of(recipe(name), profile, "lidr", "lidr")
        assert absent not in {kind for each in asked for kind in each.kinds}


def test_capacity_asks_nothing_for_translate_where_the_pods_of_generate_translate():
    profile = read_profile("cluster").model_copy(update={"shards": 3})
    asked = requests_of(recipe("lidr"), profile, "lidr", "training")
    by_kind = {kind: each for each in asked for kind in each.kinds}
    assert "translate" not in by_kind
    assert (by_kind["generate"].needed, by_kind["generate"].namespace) == (3, "training")


@pytest.mark.parametrize("name", ["icr", "judge"])
def test_loop_runs_and_notes_the_stage_that_pairs_were_made_by(
    fake_world: FakeWorld, tmp_path: Path, name: str
):
    place = layer(tmp_path, judge={"url": "http://judge/v1"})
    command = ("run", "tiny_world", "--profile", "local", "--profile", place, *sets(name))
    done = fake_world.lidr(*command, "--set", "gate.max_iterations=1")
    assert done.returncode == 0, done.stderr
    steps = ["prepare", "evaluate", "register", "generate", NEEDED[name], *OTHERS]
    assert fake_world.steps == steps
    state = json.loads((fake_world.run / "iteration-1" / "state.json").read_text())
    key = {"icr": "scores", "judge": "grades"}[name]
    assert f"/{NEEDED[name]}/" in state[key]
    assert state["translations"] == ""
    paired = open_stage(state["pairs"]).marker()["identity"]["inputs"]
    assert paired["t"] == open_stage(state[key]).digest
    rows = json.loads(fake_world.lidr("status", fake_world.run.name, "--output", "json").stdout)
    assert NEEDED[name] in {row["step"] for row in rows["rows"]}
    assert "translate" not in {row["step"] for row in rows["rows"]}


def test_shards_without_translations_end_with_the_responses(fake_world: FakeWorld):
    done = fake_world.lidr(
        "run", "tiny_world", *sets("icr"), "--shards", "2", "--set", "gate.max_iterations=1"
    )
    assert done.returncode == 0, done.stderr
    assert not (fake_world.store / "stages" / "translate").exists()
    assert len(list((fake_world.store / "stages" / "score").iterdir())) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([*SAMPLES, "pairing.rewarder=icr"], "in the first iteration there is no M_(t-1)"),
        (SETTINGS["icr"][2:], "generation.samples must be 2 or more, not 1"),
        ([*SAMPLES, "pairing.rewarder=judge"], "pairing.rewarder judge needs a judge section"),
        (
            ["pairing.icr.reference=/x"],
            "icr is read by the rewarder icr alone, and rewarder is lidr",
        ),
        (["judge={endpoint: {model: j}}"], "judge.tasks is empty"),
        (["pairing.rewarder=other"], "'lidr', 'icr' or 'judge'"),
    ],
)
@pytest.mark.parametrize("command", ["check", "plan"])
def test_what_a_rewarder_lacks_is_said_before_anything_begins(
    monkeypatch, capsys, command: str, settings: list[str], message: str
):
    asked = [part for setting in settings for part in ("--set", setting)]
    code, _, error = main(monkeypatch, capsys, command, "tiny_world", *asked)
    assert code == 2
    assert message in error


def test_models_that_score_are_named_relative_to_the_recipe(tmp_path: Path):
    text = (Path(__file__).parents[2] / "pipelines/recipes/tiny_world.yaml").read_text()
    own = read_yaml(text)
    own["generation"] |= {"samples": 2, "temperature": 1.0}
    own["pairing"] |= {"rewarder": "icr", "icr": {"reference": "models/sft"}}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own))
    assert read_recipe(str(file), None, []).pairing.icr.reference == str(tmp_path / "models/sft")


def test_requests_of_a_rewarder_are_those_its_steps_make():
    found = recipe("icr", LLAMA)
    codes = found.languages.all
    measured = Lengths(
        prompt=dict.fromkeys(codes, 10.0), answer=dict.fromkeys(codes, 100.0), kept=0.5
    )
    work = Requests(found, PlannedPrompts(10, {}), figures().lengths, measured)
    assert work.translate.requests == 0
    # Each of two models reads 150 answers of 100 tokens behind 5 x 10 x 2 prompts of 10: a prompt
    # stands before two of three samples, and once more before the third.
    assert work.score.requests == 2 * 150
    assert work.score.prompt_tokens == 2 * (150 * 100 + 5 * 10 * 2 * 10)
    assert work.scored_tokens == 2 * 150 * 100
    assert (work.pairs.candidates, work.pairs.pairs) == (50, 25)
    assert work.pairs.tokens == pytest.approx(0.5 * 50 * (10 + 200))


@pytest.mark.parametrize("name", SETTINGS)
def test_plan_counts_the_step_that_the_rewarder_needs(name: str):
    planned = recipe(name, LLAMA)
    inputs = PlanInputs(
        planned,
        read_profile("cluster"),
        model_config(planned.model),
        read_prompts(planned),
        figures(),
    )
    plan = estimate(inputs)
    stages = [step.work.stage for step in plan.steps]
    assert set(NEEDED.values()) & set(stages) == {NEEDED[name]}
    scored = [step.work for step in plan.steps if step.work.stage == "score"]
    assert len(scored) == (2 if name == "icr" else 0)
    assert all(work.gpu_hours > 0 for work in scored)
    graded = [note for note in plan.notes if "the judge grades" in note]
    assert len(graded) == (name == "judge")


def test_scoring_is_cheaper_than_training_on_as_many_texts():
    planned = recipe("icr", LLAMA)
    inputs = PlanInputs(
        planned,
        read_profile("cluster"),
        model_config(planned.model),
        read_prompts(planned),
        figures(),
    )
    hours = {step.work.stage: step.work.gpu_hours for step in estimate(inputs).steps}
    # Two forward passes over three samples, against a reference pass and three forward passes'
    # work over two of them.
    assert 0 < hours["score"] < hours["train"]
