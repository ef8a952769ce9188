"""The prompts that were answered, among all that the prepare stage holds."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from lidr.components.pair.rewarders.prompts import answered_prompts
from lidr.components.shared.core.errors import CorruptStage
from lidr.components.shared.records.schema import Prompt, Response
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import new_stage
from tests.fakes import world_stage
from tests.unit.pair.stages import answered

MANY = 20_000


def test_only_answered_prompts_are_kept_in_every_language(tmp_path: Path):
    codes = ("en", "es", "de")
    prompts = [Prompt(f"p{n}", code, f"{code} {n}?", str(n)) for code in codes for n in range(6)]
    answers = [answered("p1", "en"), answered("p4", "es")]
    found = answered_prompts(world_stage(str(tmp_path), prompts).uri, ("en", "es"), answers)
    assert list(found) == [("p1", "en"), ("p4", "en"), ("p1", "es"), ("p4", "es")]
    assert found["p4", "es"] == Prompt("p4", "es", "es 4?", "4")
    assert answered_prompts(world_stage(str(tmp_path), prompts).uri, codes, []) == {}


def test_prompts_without_an_answer_take_no_memory(tmp_path: Path):
    prompts = [Prompt(f"p{n}", "es", f"{n} {'Nina ' * 40}") for n in range(MANY)]
    inputs = world_stage(str(tmp_path), prompts).uri
    del prompts
    answers = [answered("p0", "es"), answered(f"p{MANY - 1}", "es")]
    answered_prompts(inputs, ["es"], answers)  # pyarrow imports some of itself late
    tracemalloc.start()
    found = answered_prompts(inputs, ["es"], answers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(found) == [("p0", "es"), (f"p{MANY - 1}", "es")]
    assert peak < MANY * 20, "bytes; the texts alone have ten times as many"


def test_a_file_of_other_records_is_named(tmp_path: Path):
    stage = new_stage(open_store(str(tmp_path)), "prepare", 1, {}, {})
    stage.write_records("prompts/es.parquet", [answered("p0", "es")], Response)
    stage.finish({})
    with pytest.raises(CorruptStage, match=r"prompts/es\.parquet holds no prompts"):
        answered_prompts(stage.uri, ["es"], [answered("p0", "es")])
