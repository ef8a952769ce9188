"""A rollout on a disk that runs full, a real one: a file system of a few hundred kilobytes."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from lidr.components.generate.run import generate
from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.records.schema import FinishReason, Prompt
from lidr.components.shared.store.stage import MARKER, open_stage
from tests.disks import small_disk
from tests.fakes import FakeEngine, make_recipe, use_engine, world_stage

COUNT = 60
PROMPTS = [
    Prompt(f"p{number}", code, f"Question {number} in {code}?")
    for code in ("en", "es", "de")
    for number in range(COUNT)
]


def answer(request: ChatRequest) -> Completion:
    noise = random.Random(request.seed).choices("abcdefghijklmnopqrstuvwxyz ", k=8000)
    return Completion(request.key, "".join(noise), FinishReason.STOP, 7, 5)


def test_a_full_disk_ends_the_stage_and_room_lets_it_go_on(tmp_path, monkeypatch):
    use_engine(monkeypatch, FakeEngine(answer))
    settings = {"engine": "transformers", "chunk_size": 5}
    recipe = make_recipe(generation=settings, prompts={"per_iteration": COUNT}).model_dump_json()

    def run(store: Path) -> str:
        world = world_stage(str(store), PROMPTS).uri
        return generate(recipe=recipe, store=str(store), inputs=world, model=world, iteration=1)

    whole = open_stage(run(tmp_path)).marker()["files"]
    with small_disk("400k") as disk:
        with pytest.raises(StoreError, match="No space left on device"):
            run(disk)
        [stage] = (disk / "stages/generate").iterdir()
        assert not (stage / MARKER).exists()
        assert not list(disk.rglob(".tmp-*"))
        kept = sorted(stage.rglob("*.parquet"))
        times = [path.stat().st_mtime_ns for path in kept]
        assert 0 < len(kept) < 36

        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        assert open_stage(run(disk)).marker()["files"] == whole
        assert [path.stat().st_mtime_ns for path in kept] == times
