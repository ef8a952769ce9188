"""kill -9 in the middle of generate and translate, with real engines: no chunk is lost or redone.

LIDR_KILLS says how often each run is killed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from components.shared.stage import open_stage
from components.world.run import build_world
from tests.e2e.rollouts import files, make_recipe
from tests.unit.shared.engine_cases import lively_model

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
KILLS = {
    name: int(os.environ.get("LIDR_KILLS", default))
    for name, default in (("transformers", 3), ("vllm", 2))
}
CODE = """
import json, sys
from components.generate.run import generate
from components.translate.run import translate
if __name__ == "__main__":
    recipe, store, world = sys.argv[1:]
    common = {"recipe": recipe, "store": store, "world": world, "model": world, "iteration": 1}
    responses = generate(**common)
    print(json.dumps([responses, translate(responses=responses, **common)]))
"""


def start(recipe: str, store: Path, world: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE, recipe, str(store), world],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def chunks(store: Path) -> dict[Path, int]:
    """Return every chunk and when it was written."""
    found = [*store.glob("stages/generate/**/*.parquet")]
    found += store.glob("stages/translate/**/*.parquet")
    return {path: path.stat().st_mtime_ns for path in found}


def run_killed(recipe: str, store: Path, world: str, kills: int) -> list[str]:
    """Kill the program after a few more chunks each time, then let it end; return its stages."""
    rng = random.Random(kills)
    for _ in range(kills):
        before = chunks(store)
        wanted = len(before) + rng.randint(1, 3)
        process = start(recipe, store, world)
        while len(chunks(store)) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
        assert before.items() <= chunks(store).items(), "a finished chunk was lost or written anew"
    process = start(recipe, store, world)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(out.splitlines()[-1])


def rows(uri: str) -> list[dict]:
    stage = open_stage(uri)
    return stage.read_table(stage.files(prefix="")).to_pylist()


def both(folder: Path, engine: str, fused: bool) -> tuple[list[str], list[str]]:
    """Return the stages of an undisturbed and of a killed run."""
    lively_model(folder / "model", context=1024)
    recipe = make_recipe(folder, engine, fused)
    stages = []
    for name, kills in (("whole", 0), ("killed", KILLS[engine])):
        store = folder / name
        world = build_world(recipe=recipe, store=str(store))
        stages.append(run_killed(recipe, store, world, kills))
    return stages[0], stages[1]


@pytest.mark.parametrize("fused", [False, True])
def test_with_transformers_the_bytes_are_those_of_an_undisturbed_run(tmp_path, fused):
    whole, killed = both(tmp_path, "transformers", fused)
    assert [files(uri) for uri in killed] == [files(uri) for uri in whole]


@pytest.mark.skipif(find_spec("vllm") is None, reason="vllm is not installed (lidr[vllm])")
def test_with_vllm_every_place_is_filled_once(tmp_path):
    whole, killed = both(tmp_path, "vllm", fused=True)
    for expected, found in zip(whole, killed, strict=True):
        assert files(found).keys() == files(expected).keys()
        ids = [[row["prompt_id"] for row in rows(uri)] for uri in (expected, found)]
        assert ids[0] == ids[1]
    texts = [[row["text"] for row in rows(stages[0])] for stages in (whole, killed)]
    same = sum(one == other for one, other in zip(*texts, strict=True))
    assert same >= 0.9 * len(texts[0]), "only near ties may fall otherwise"
