"""A loop that looks first and begins with its second iteration, in kfp.local, with fake steps."""

from __future__ import annotations

import json
import subprocess
import sys

from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import recipe_key, state_key
from lidr.components.shared.store.stage import open_stage
from lidr.components.state.run import Resumed
from lidr.components.watch.run import check_inputs
from lidr.pipelines.cli.inputs import read_recipe
from tests.pipelines.conftest import FakeWorld
from tests.pipelines.test_loop import ROUND


def run(world: FakeWorld, name: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipelines.shaped", str(world.store), name],
        env=world.environment,
        cwd=world.store.parent,  # python -m looks for the steps where it stands first
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_schedule_runs_what_is_new_from_where_it_is_and_else_ends_at_once(fake_world: FakeWorld):
    """The second iteration starts from M_0: the first one's model was not promoted."""
    recipe = read_recipe("tiny_world", None, ["gate.max_iterations=2"]).model_dump_json()
    store = open_store(str(fake_world.store))
    name = check_inputs(recipe=recipe, store=store.uri, name="nightly")
    store.write(recipe_key(name), recipe.encode())
    for number, promoted in ((0, True), (1, False)):
        state = {name: f"/s/stages/{name}/{number}" for name in Resumed._fields}
        state |= {"iteration": number, "verdict": "continue", "promoted": promoted, "reason": "so"}
        store.write(state_key(name, number), json.dumps(state).encode())

    assert f"new inputs: run {name}" in run(fake_world, "nightly")
    assert fake_world.steps == ROUND
    generated = open_stage(fake_world.work[0]).marker()["identity"]
    assert (generated["inputs"]["m"], generated["settings"]["i"]) == ("0", 2)
    assert [entry["iteration"] for entry in fake_world.result["iterations"]] == [0, 1, 2]

    second = run(fake_world, "nightly")
    assert f"nothing new: run {name} has been done" in second
    assert second.count("Executing task") == 2  # the look, and the exit handler
    assert fake_world.steps == ROUND
