"""kill -9 of vLLM's core process in the middle of generate: another is started and goes on."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from lidr.components.prepare.run import prepare
from lidr.components.shared.config.machine import MACHINE, EngineSettings, Machine
from lidr.components.shared.store.stage import open_stage
from tests.e2e.rollouts import COUNT, LANGUAGES, make_recipe
from tests.unit.shared.engines.cases import lively_model
from tests.warm import VLLM, python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed (lidr[vllm])"),
]

ROOT = Path(__file__).parents[2]

CODE = """
import json, multiprocessing, sys, time
from pathlib import Path
from threading import Thread
from lidr.components.generate.run import generate

def kill_core():
    written = {}
    while len(written) < 3:
        time.sleep(0.005)
        chunks = Path(store).glob("stages/generate/**/*.parquet")
        written = {str(path): path.stat().st_mtime_ns for path in chunks}
    (core,) = [each for each in multiprocessing.active_children() if "EngineCore" in each.name]
    core.kill()
    print(json.dumps(written))

if __name__ == "__main__":
    recipe, store, world = sys.argv[1:]
    Thread(target=kill_core).start()
    print(generate(recipe=recipe, store=store, inputs=world, model=world, iteration=1))
"""


def slow_recipe(folder: Path) -> str:
    """Return a recipe whose answers come a few at a time, so that there is a middle."""
    recipe = json.loads(make_recipe(folder, "vllm"))
    recipe["generation"] |= {"max_tokens": 300}
    return json.dumps(recipe)


def test_a_killed_core_is_replaced_and_nothing_is_asked_twice(tmp_path):
    lively_model(tmp_path / "model", context=1024)
    recipe, store = slow_recipe(tmp_path), tmp_path / "store"
    world = prepare(recipe=recipe, store=str(store))
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1",  # as on a GPU
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        MACHINE: Machine(engine=EngineSettings(max_num_seqs=4)).text(),
    }
    done = subprocess.run(
        [python(VLLM), "-c", CODE, recipe, str(store), world],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    written, uri = done.stdout.splitlines()
    counts = open_stage(uri).counts()
    assert "vLLM died" in done.stderr
    assert counts["engine_starts"] == 2
    assert counts["responses"] == COUNT * len(LANGUAGES)
    assert all(Path(path).stat().st_mtime_ns == at for path, at in json.loads(written).items())
