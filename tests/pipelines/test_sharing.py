"""Components that rounds share: a smaller pipeline that does the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import load_recipe
from lidr.pipelines.compiled import compile_loop
from lidr.pipelines.sharing import share_components
from tests.pipelines.conftest import ROOT, FakeWorld
from tests.yaml_text import read_documents

RECIPE = ROOT / "pipelines" / "recipes" / "tiny_world.yaml"

RUN = """
import sys
from tests.kfp_forks import fork_tasks
fork_tasks(["tests.pipelines.fake_steps"])
from kfp import components, local
loop = components.load_component_from_file(sys.argv[1])
local.init(
    runner=local.SubprocessRunner(use_venv=False),
    pipeline_root=sys.argv[3],
    workspace_root=sys.argv[4],
)
loop(store=sys.argv[2])
"""


def compiled(rounds: int, **profile: object) -> list[dict]:
    settings = Profile.model_validate({"name": "here", **profile})
    return list(read_documents(compile_loop(load_recipe(RECIPE), settings, "mine", rounds)))


def test_rounds_hold_each_component_once():
    two, five = compiled(2)[0], compiled(5)[0]
    assert set(five["components"]) == set(two["components"])
    executors = five["deploymentSpec"]["executors"]
    assert len({str(body) for body in executors.values()}) == len(executors)
    used = {body.get("executorLabel") for body in five["components"].values()} - {None}
    assert used == set(executors)


def test_settings_of_unused_executors_go_too():
    training = {"launcher": "trainjob"}
    pipeline, platform = compiled(
        5, runner="kubeflow", secrets={"store": ["KEY"]}, shards=3, training=training
    )
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(settings) == set(pipeline["deploymentSpec"]["executors"])


def test_equal_containers_with_different_settings_stay_apart():
    body = {"container": {"image": "x"}}
    pipeline = {
        "root": {"dag": {"tasks": {n: {"componentRef": {"name": f"comp-{n}"}} for n in "abc"}}},
        "components": {f"comp-{name}": {"executorLabel": f"exec-{name}"} for name in "abc"},
        "deploymentSpec": {"executors": {f"exec-{name}": dict(body) for name in "abc"}},
    }
    settings = {"exec-a": {"pool": 1}, "exec-b": {"pool": 2}, "exec-c": {"pool": 1}}
    share_components(
        pipeline, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": settings}}}}
    )
    assert set(pipeline["components"]) == {"comp-a", "comp-b"}
    tasks = pipeline["root"]["dag"]["tasks"]
    assert [tasks[name]["componentRef"]["name"] for name in "abc"] == ["comp-a", "comp-b", "comp-a"]
    assert settings == {"exec-a": {"pool": 1}, "exec-b": {"pool": 2}}


def test_the_compiled_file_runs_every_round(fake_world: FakeWorld, tmp_path: Path):
    file = tmp_path / "loop.yaml"
    settings = Profile.model_validate({"name": "here", "shards": 2})
    file.write_text(compile_loop(load_recipe(RECIPE), settings, "mine", 3))
    folders = [str(tmp_path / name) for name in ("outputs", "workspace")]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file), str(fake_world.store), *folders],
        env=fake_world.environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert fake_world.steps.count("train") == 2, "gate.max_iterations is 2, the third round skips"
    assert [entry["iteration"] for entry in fake_world.result["iterations"]] == [0, 1, 2]
