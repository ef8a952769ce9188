"""The whole loop through `lidr run`, as a user runs it: real engine, training, MLflow."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = [
    "world.solutions=400",
    "world.weak_solutions=100",
    "world.translations=60",
    "world.evaluation_items=20",
    "prompts.per_iteration=24",
    "generation.chunk_size=8",
    "translation.round_trip_sample=4",
    "training.checkpoint_steps=2",
    "gate.tolerance=1.0",
]
"""Sizes at which M_0 learns little, but every step does real work."""


def command(store: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "pipelines.cli",
        "run",
        "tiny_world",
        "--store",
        str(store),
        *options,
    ]


def small(store: Path, *settings: str) -> list[str]:
    sets = [part for item in [*SMALL, *settings] for part in ("--set", item)]
    return command(store, "--run", "small", "--output", "json", *sets)


def result_of(store: Path, run: str) -> dict:
    return json.loads((store / "runs" / run / "result.json").read_text())


def stage_digests(store: Path) -> dict[str, str]:
    """Return the content digests of every file of every stage but those that carry times."""
    digests = {}
    for marker in sorted(store.glob("stages/*/*/_SUCCESS")):
        step = marker.parent.parent.name
        for name, file in json.loads(marker.read_text())["files"].items():
            if step != "register" and not name.endswith("metrics.jsonl"):
                digests[f"{step}/{marker.parent.name}/{name}"] = file["sha256"]
    return digests


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    store = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        command(store, "--run", "demo", "--output", "json"),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return store, json.loads(done.stdout)


def test_a_model_gets_better_in_its_weak_languages(demo: tuple[Path, dict]) -> None:
    _, result = demo
    first, last = result["iterations"][0], result["iterations"][-1]
    assert last["iteration"] == 2
    assert last["average"]["value"] - first["average"]["value"] >= 0.25
    assert last["average"]["low"] > first["average"]["high"]
    assert first["accuracy"]["en"]["value"] - last["accuracy"]["en"]["value"] <= 0.02
    for code in ("es", "de", "fr"):
        assert last["off_target"][code] < first["off_target"][code]


def test_result_is_what_was_printed_and_points_at_loadable_models(demo: tuple[Path, dict]) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    store, result = demo
    assert result == result_of(store, "demo")
    folder = result["final_model"]
    AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True)
    assert AutoTokenizer.from_pretrained(folder).chat_template


def test_every_iteration_is_a_registered_version(demo: tuple[Path, dict]) -> None:
    from mlflow import MlflowClient

    store, result = demo
    uri = f"sqlite:///{store / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    versions = {v.tags["lidr.iteration"]: v for v in client.search_model_versions("")}
    assert sorted(versions) == ["0", "1", "2"]
    for entry in result["iterations"]:
        assert versions[str(entry["iteration"])].source == entry["model"]
    assert versions["1"].tags["lidr.parent_version"] == "tiny-world/1"


def test_running_again_repeats_nothing(demo: tuple[Path, dict]) -> None:
    store, result = demo
    before = {p: p.stat().st_mtime_ns for p in store.glob("stages/*/*/_SUCCESS")}
    done = subprocess.run(
        command(store, "--run", "demo", "--output", "json"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in store.glob("stages/*/*/_SUCCESS")} == before
    assert json.loads(done.stdout)["iterations"] == result["iterations"]


def test_killed_at_random_moments_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    subprocess.run(small(undisturbed), check=True, capture_output=True, timeout=600)
    rng = random.Random(20)
    kills = 0
    while True:
        process = subprocess.Popen(
            small(disturbed), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            _, errors = process.communicate(timeout=rng.uniform(3, 25) if kills < 8 else 600)
        except subprocess.TimeoutExpired:
            number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
            process.send_signal(number)
            process.wait(30)
            process.stderr.close()
            kills += 1
            assert_no_orphans(disturbed)
            continue
        assert process.returncode == 0, errors
        break
    assert kills >= 3
    assert stage_digests(disturbed) == stage_digests(undisturbed)
    expected = result_of(undisturbed, "small")["iterations"]
    for ours, theirs in zip(result_of(disturbed, "small")["iterations"], expected, strict=True):
        assert ours["accuracy"] == theirs["accuracy"]


def assert_no_orphans(store: Path) -> None:
    """Every process that carries the run's events file in its environment must be gone."""
    mark = f"LIDR_EVENTS={store / 'runs' / 'small' / 'events.jsonl'}".encode()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        alive = [p for p in Path("/proc").glob("[0-9]*") if mark in environment(p)]
        if not alive:
            return
        time.sleep(0.1)
    raise AssertionError(f"orphans: {alive}")


def environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    "setting", ["pairing.swap=true", "training.nll_weight=0", "training.dpo_weight=0"]
)
def test_controls_are_options_of_the_recipe(setting: str, controls_store: Path) -> None:
    store = controls_store
    done = subprocess.run(
        [
            *command(store, "--run", setting.partition("=")[0].replace(".", "-")),
            *[
                part
                for item in [*SMALL, setting, "gate.max_iterations=1"]
                for part in ("--set", item)
            ],
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def controls_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the controls: they share M_0, its answers and their translations."""
    return tmp_path_factory.mktemp("controls")
