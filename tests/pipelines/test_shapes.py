"""Loops that begin later, and loops that look first, in real kfp.local with fake steps."""

from __future__ import annotations

import json
import subprocess
import sys

from components.shared.runs import recipe_key, state_key
from components.shared.stage import open_stage
from components.shared.store import open_store
from components.state.run import Resumed
from pipelines.cli.inputs import read_recipe
from tests.pipelines.conftest import FakeWorld
from tests.pipelines.test_loop import ROUND, START


def run(world: FakeWorld, name: str, rounds: int, first: int = 1, watching: str = "no") -> str:
    arguments = [str(world.store), name, str(rounds), str(first), watching]
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.shaped", *arguments],
        env=world.environment,
        cwd=world.store.parent,  # python -m looks for the steps where it stands first
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_schedule_s_pipeline_runs_where_there_is_news_and_else_ends_at_once(
    fake_world: FakeWorld,
):
    run(fake_world, "nightly", 0, watching="yes")
    assert fake_world.steps == START
    name = fake_world.run.name
    assert name.startswith("nightly-") and len(fake_world.result["iterations"]) == 1

    second = run(fake_world, "nightly", 0, watching="yes")
    assert f"nothing new: run {name} has been done" in second
    assert second.count("Executing task") == 2  # the look, and the exit handler
    assert fake_world.steps == START


def test_a_loop_may_begin_with_the_run_s_own_state(fake_world: FakeWorld):
    """The second iteration starts from M_0: the first one's model was not promoted."""
    recipe = read_recipe("tiny_world", None, ["gate.max_iterations=2"]).model_dump_json()
    store = open_store(str(fake_world.store))
    store.write(recipe_key("mine"), recipe.encode())
    for number, promoted in ((0, True), (1, False)):
        state = {name: f"/s/stages/{name}/{number}" for name in Resumed._fields}
        state |= {"iteration": number, "verdict": "continue", "promoted": promoted, "reason": "so"}
        store.write(state_key("mine", number), json.dumps(state).encode())
    run(fake_world, "mine", 2, first=2)
    assert fake_world.steps == ROUND
    generated = open_stage(fake_world.work[0]).marker()["identity"]
    assert (generated["inputs"]["m"], generated["settings"]["i"]) == ("0", 2)
    assert [entry["iteration"] for entry in fake_world.result["iterations"]] == [0, 1, 2]
