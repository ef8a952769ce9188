"""The loop through `lidr run`: real engine, training, MLflow; its tasks are forks.

One iteration of the two that `make demo` makes: the other tests here make two, of smaller worlds.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.runs import command, result_of, run_command
from tests.warm import python
from tests.yaml_text import read_yaml

pytestmark = pytest.mark.slow

DEMO = ("--run", "demo", "--output", "json", "--set", "gate.max_iterations=1")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    store = tmp_path_factory.mktemp("demo") / "store"
    done = run_command(command(store, *DEMO), store.parent)
    assert done.returncode == 0, done.stderr
    return store, json.loads(done.stdout)


def test_a_model_gets_better_in_its_weak_languages(demo: tuple[Path, dict]) -> None:
    _, result = demo
    first, last = result["iterations"][0], result["iterations"][-1]
    assert last["iteration"] == 1
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


def test_a_version_is_exported_with_its_card(demo: tuple[Path, dict], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    store, result = demo
    target = tmp_path / "exported"
    export = [python(), "-m", "lidr.pipelines.cli", "export", "tiny-world@candidate"]
    export += ["--to", str(target), "--store", str(store)]
    done = subprocess.run(export, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"tiny-world/2 -> {target}\n"), done.stderr
    model = Path(result["final_model"])
    assert {p.name for p in target.iterdir()} == {p.name for p in model.iterdir()} | {"README.md"}
    weights = "model.safetensors"
    assert (target / weights).read_bytes() == (model / weights).read_bytes()
    AutoModelForCausalLM.from_pretrained(target, use_safetensors=True)
    _, front, card = (target / "README.md").read_text("utf-8").split("---\n", 2)
    assert read_yaml(front)["language"] == ["en", "es", "de", "fr"]
    spanish = 100 * result["iterations"][1]["accuracy"]["es"]["value"]
    assert f"{spanish:.1f} (" in card and "| Spanish |" in card
    again = subprocess.run(export, capture_output=True, text=True)
    assert again.returncode == 2 and "already exists" in again.stderr


def test_every_iteration_is_a_registered_version(demo: tuple[Path, dict]) -> None:
    from mlflow import MlflowClient

    store, result = demo
    uri = f"sqlite:///{store / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    versions = {v.tags["lidr.iteration"]: v for v in client.search_model_versions("")}
    assert sorted(versions) == ["0", "1"]
    for entry in result["iterations"]:
        assert versions[str(entry["iteration"])].source == entry["model"]
    assert versions["1"].tags["lidr.parent_version"] == "tiny-world/1"


def test_running_again_repeats_nothing(demo: tuple[Path, dict]) -> None:
    store, result = demo
    before = {p: p.stat().st_mtime_ns for p in store.glob("stages/*/*/_SUCCESS")}
    done = run_command(command(store, *DEMO), store.parent)
    assert done.returncode == 0, done.stderr
    assert {p: p.stat().st_mtime_ns for p in store.glob("stages/*/*/_SUCCESS")} == before
    assert json.loads(done.stdout)["iterations"] == result["iterations"]


def test_its_models_are_compared_outside_the_run(demo: tuple[Path, dict]) -> None:
    """They were evaluated in the run, so this asks no engine."""
    store, result = demo
    first, last = (result["iterations"][t]["model"] for t in (0, 1))
    given = ["tiny_world", "--store", str(store), "--model", first, "--model", last]
    done = subprocess.run(
        [python(), "-m", "lidr.pipelines.cli", "evaluate", *given, "--output", "json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("evaluate: reused") == 2
    compared = json.loads(done.stdout)
    gain = result["iterations"][1]["average"]["value"] - result["iterations"][0]["average"]["value"]
    assert abs(compared["mean_gain"]["value"] - gain) < 1e-9
    assert all(row["won"] > row["lost"] for row in compared["gains"].values() if row["won"])
    assert "Flipped from A to B" in Path(compared["page"]).read_text("utf-8")
