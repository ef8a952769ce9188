"""A calibration from the markers of a finished run, and what it predicts of others."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import new_stage
from lidr.components.state.run import recipe_key, state_key
from lidr.pipelines.cli.inputs import read_profile, read_recipe
from lidr.pipelines.planning.calibration import Calibration, dump, load_calibration
from lidr.pipelines.planning.estimate import Estimate, PlanInputs, estimate
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.measured import calibrate
from lidr.pipelines.planning.requests import read_prompts
from lidr.pipelines.planning.shapes import known_models, model_config
from tests.pipelines.test_cli import main

CODES = ("en", "es", "de", "fr")
ENGINE, TRAINED, PAIRED = 500.0, 20.0, 400.0
"""Of the made-up machine: output tokens, pairs and candidates a second."""

BETWEEN = 3.0
"""Seconds of a step beside its stage."""

QUEUE = 600.0
"""Seconds that the training waited for nodes, which its stage's marker includes."""

STARTUP = {"generate": 6.0, "translate": 5.0, "evaluate": 7.0, "train": 11.0}


class Run:
    """A finished run of a machine whose every stage takes a fixed time and a time by its work.

    Args:
        store: where it is.
        prompts: of one iteration, and items of the evaluation.
        judged: seconds of a judge's stage in the iteration; 0 without a judge.
        shards: workers of the rollout, each with a GPU.
    """

    def __init__(self, store: Store, prompts: int, *, judged: float = 0.0, shards: int = 1) -> None:
        self.store = store
        self.shards = shards
        self.name = f"n{prompts}" if shards == 1 and not judged else f"n{prompts}-{shards}-judged"
        self.prompts = prompts
        self.seconds: dict[str, float] = {}
        self.settings = [
            f"prompts.per_iteration={prompts}",
            f"evaluation.limit={prompts}",
            "toy.evaluation_items=800",
            "translation.round_trip_sample=50",
            "gate.max_iterations=1",
        ]
        recipe = read_recipe("tiny_world", None, self.settings)
        store.write(recipe_key(self.name), recipe.model_dump_json().encode())
        world = self.stage("prepare", 100.0, {})
        evaluated = self.evaluate(0)
        state = {"inputs": world, "model": world, "evaluation": evaluated, "version": "m/1"}
        self.ended = datetime(2026, 1, 1, tzinfo=UTC)
        self.state(0, state)
        before = sum(self.seconds.values())
        made = {
            "responses": self.generate(),
            "translations": self.translate(),
            "pairs": self.pair(),
            "model": self.train(),
            "judgements": self.stage("judge", judged, {}) if judged else "",
            "decision": self.stage("gate", 0.5, {}),
            "evaluation": self.evaluate(1),
        }
        own = sum(self.seconds.values()) - before - self.seconds["reference"]  # it is in train's
        self.ended += timedelta(seconds=own + QUEUE + (7 + bool(judged) + (shards > 1)) * BETWEEN)
        self.state(1, state | made | {"version": "m/2"})

    def state(self, number: int, state: dict[str, str]) -> None:
        rest = {"iteration": number, "verdict": "continue", "promoted": True, "reason": "better"}
        rest["finished"] = self.ended.isoformat(timespec="seconds")
        self.store.write(state_key(self.name, number), json.dumps({**state, **rest}).encode())

    def stage(
        self, step: str, seconds: float, counts: dict[str, Any], key: str = "", queue: float = 0.0
    ) -> str:
        made = new_stage(self.store, step, 1, {}, {"run": self.name, "key": key})
        stage = replace(made, began=time.monotonic() - seconds - queue)
        if step == "train":
            config = known_models()["toy"]
            stage.write("model/config.json", json.dumps(config).encode())
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds
        return stage.finish(counts)

    def generate(self) -> str:
        each = {"responses": self.prompts, "prompt_tokens": 30 * self.prompts}
        part = each | {"output_tokens": 40 * self.prompts}
        counts = {"languages": dict.fromkeys(CODES, part), "responses": 4 * self.prompts}
        busy = 4 * 40 * self.prompts / ENGINE
        return self.stage("generate", STARTUP["generate"] + busy, counts | self.engine())

    def translate(self) -> str:
        part = {"translations": self.prompts, "output_tokens": 45 * self.prompts}
        directions = [f"en-{code}" for code in CODES[1:]] + [f"{code}-en" for code in CODES[1:]]
        counts = {"directions": dict.fromkeys(directions, part)}
        busy = 6 * 45 * (self.prompts + 50) / ENGINE  # 50 of each direction are translated back
        return self.stage("translate", STARTUP["translate"] + busy, counts | self.engine())

    def engine(self) -> dict[str, Any]:
        rate = {"tokens_per_second": ENGINE, "workers": self.shards}
        return rate if self.shards == 1 else rate | {"worker_gpus": 1}

    def pair(self) -> str:
        counts = {"pairs": 6 * self.prompts, "candidates": 6 * self.prompts}
        return self.stage("pair", 6 * self.prompts / PAIRED, counts)

    def train(self) -> str:
        busy = 6 * self.prompts / TRAINED
        reference = self.stage("reference", busy / 3, {})
        counts = {"reference": reference, "train_seconds": busy, "ranks": 1}
        seconds = STARTUP["train"] + busy * 4 / 3
        return self.stage("train", seconds, {**counts, "seconds": seconds}, queue=QUEUE)

    def evaluate(self, number: int) -> str:
        scores = {"mean_tokens": 20.0, "accuracy": {"n": self.prompts}}
        seconds = STARTUP["evaluate"] + 4 * 20 * self.prompts / ENGINE
        return self.stage(
            "evaluate", seconds, {"languages": dict.fromkeys(CODES, scores)}, f"-{number}"
        )


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[int, Run]:
    store = LocalStore(tmp_path_factory.mktemp("runs"))
    return {prompts: Run(store, prompts) for prompts in (100, 200, 800)}


def planned(run: Run, calibration: Calibration, profile: str = "local") -> Estimate:
    recipe, placed = read_recipe("tiny_world", None, run.settings), read_profile(profile)
    config, prompts = model_config(recipe.model), read_prompts(recipe)
    return estimate(PlanInputs(recipe, placed, config, prompts, figures(), calibration))


def by_stage(plan: Estimate) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for work in plan.works:
        seconds[work.stage] = seconds.get(work.stage, 0.0) + work.seconds - BETWEEN
    return seconds


@pytest.mark.parametrize(("base", "other"), [(200, 100), (100, 800), (800, 100)])
def test_one_run_predicts_others_of_the_same_machine(runs, base: int, other: int):
    calibration = calibrate(runs[base].store.uri, runs[base].name)
    seconds, measured = by_stage(planned(runs[other], calibration)), runs[other].seconds
    for stage in ("prepare", "generate", "translate", "pair", "train", "evaluate", "gate"):
        assert seconds[stage] == pytest.approx(measured[stage], rel=0.02, abs=0.2), stage


def test_a_calibration_holds_what_the_markers_say(runs, tmp_path: Path):
    found = calibrate(runs[200].store.uri, "n200")
    assert found.lengths.answer == dict.fromkeys(CODES, 40.0)
    assert found.lengths.prompt["es"] == 30.0
    assert found.lengths.translation["fr-en"] == 45.0
    assert found.lengths.evaluation["de"] == 20.0
    assert found.lengths.kept == 1.0
    assert found.generate.per_second == pytest.approx(ENGINE)
    assert found.translate.fixed_seconds == pytest.approx(STARTUP["translate"], abs=0.1)
    assert found.evaluate.fixed_seconds == pytest.approx(STARTUP["evaluate"], abs=0.1)
    assert found.between == pytest.approx(BETWEEN, abs=0.1)
    assert found.train.fixed_seconds == pytest.approx(STARTUP["train"], abs=0.1)
    file = tmp_path / "calibration.json"
    file.write_text(dump(found))
    assert load_calibration(file) == found


def test_what_a_judge_takes_is_not_between_the_steps(tmp_path: Path):
    judged = Run(LocalStore(tmp_path), 100, judged=300.0)
    assert calibrate(judged.store.uri, judged.name).between == pytest.approx(BETWEEN, abs=0.1)


def test_gpus_of_shards_are_those_of_one_worker(runs, tmp_path: Path):
    """The marker is written by the pod that merges the shards, which has none."""
    sharded = Run(LocalStore(tmp_path), 100, shards=4)
    found = calibrate(sharded.store.uri, sharded.name)
    assert (found.gpus, calibrate(runs[100].store.uri, "n100").gpus) == (1, 0)
    assert found.generate.per_second == pytest.approx(ENGINE / 4, rel=0.01)
    assert found.between == pytest.approx(BETWEEN, abs=0.1)


def test_the_command_prints_a_calibration_and_reads_it(monkeypatch, capsys, runs, tmp_path: Path):
    code, out, err = main(monkeypatch, capsys, "plan", "--calibrate", runs[100].store.uri, "n100")
    assert (code, err) == (0, "")
    file = tmp_path / "calibration.json"
    file.write_text(out)
    given = ("plan", "tiny_world", "--profile", "local", "--calibration", str(file))
    code, out, _ = main(monkeypatch, capsys, *given)
    assert code == 0
    assert "Calibrated by run n100 of tiny-world" in out


def test_of_another_model_only_the_lengths_are_used(runs):
    calibration = calibrate(runs[100].store.uri, "n100").model_copy(update={"parameters": 10**9})
    plan = planned(runs[100], calibration, "cluster")
    loads = {step.work.stage: step.load for step in plan.steps}
    assert loads["generate"].output_tokens == 4 * 100 * 40
    assert any("its lengths are used, its speeds are not" in note for note in plan.notes)
    assert any(
        "rough, maybe by a factor of three" in n for n in planned(runs[100], calibration).notes
    )


def test_speeds_that_are_used_of_an_unnamed_type_of_gpu_are_noted(runs):
    calibration = calibrate(runs[100].store.uri, "n100")
    gpus = read_profile("cluster").resources_of("generate").accelerators
    used = planned(runs[100], calibration.model_copy(update={"gpus": gpus}), "cluster").notes
    assert any("does not name its run's type of GPU" in note for note in used)
    assert not any("its speeds are not" in note for note in used)
    assert not any("type of GPU" in note for note in planned(runs[100], calibration).notes)


def test_a_run_without_an_iteration_is_refused(runs, tmp_path: Path):
    store = LocalStore(tmp_path)
    store.write(recipe_key("early"), runs[100].store.read(recipe_key("n100")))
    store.write(state_key("early", 0), runs[100].store.read(state_key("n100", 0)))
    with pytest.raises(BadInput, match=r"run early on .* has no finished iteration"):
        calibrate(store.uri, "early")
    store.write(recipe_key("broken"), b"{}")
    with pytest.raises(BadInput, match="not a recipe of this version of lidr"):
        calibrate(store.uri, "broken")
    with pytest.raises(BadInput, match=r"no run 'erly' .*did you mean 'early'"):
        calibrate(store.uri, "erly")
