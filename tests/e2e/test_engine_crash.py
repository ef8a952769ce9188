"""kill -9 of vLLM's core process in the middle of generate: another is started and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from lidr.components.prepare.run import prepare
from lidr.components.shared.config.machine import MACHINE, EngineSettings, Machine
from lidr.components.shared.core.processes import marked_pids
from lidr.components.shared.store.stage import open_stage
from tests.e2e.rollouts import COUNT, LANGUAGES, make_recipe
from tests.unit.shared.engines.cases import lively_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed (lidr[vllm])"),
]

ROOT = Path(__file__).parents[2]

CODE = """
import sys
from lidr.components.generate.run import generate
if __name__ == "__main__":
    recipe, store, world = sys.argv[1:]
    print(generate(recipe=recipe, store=store, inputs=world, model=world, iteration=1))
"""


def slow_recipe(folder: Path) -> str:
    """Return a recipe whose answers come a few at a time, so that there is a middle."""
    recipe = json.loads(make_recipe(folder, "vllm"))
    recipe["generation"] |= {"max_tokens": 300}
    return json.dumps(recipe)


def cores(mark: str) -> list[int]:
    """Return vLLM's core processes among those that carry a mark."""
    found = marked_pids("LIDR_TEST", mark)
    return [pid for pid in found if b"EngineCore" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_killed_core_is_replaced_and_nothing_is_asked_twice(tmp_path):
    lively_model(tmp_path / "model", context=1024)
    recipe, store = slow_recipe(tmp_path), tmp_path / "store"
    world = prepare(recipe=recipe, store=str(store))
    settings = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "1",  # as on a GPU
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "OMP_NUM_THREADS": "1",
        "LIDR_TEST": str(tmp_path),
        MACHINE: Machine(engine=EngineSettings(max_num_seqs=4)).text(),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, recipe, str(store), world],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    written = {}
    while len(written) < 3 and process.poll() is None:
        time.sleep(0.005)
        written = {p: p.stat().st_mtime_ns for p in store.glob("stages/generate/**/*.parquet")}
    for pid in cores(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    counts = open_stage(out.splitlines()[-1]).counts()
    assert "vLLM died" in errors
    assert counts["engine_starts"] == 2
    assert counts["responses"] == COUNT * len(LANGUAGES)
    assert all(path.stat().st_mtime_ns == at for path, at in written.items())
