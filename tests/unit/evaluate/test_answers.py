from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.evaluate.answers import answer_questions, judged_identity
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines import ChatRequest, Completion, Decoding
from lidr.components.shared.records.schema import Answer, Failure, FinishReason
from lidr.components.shared.store.stage import open_stage
from tests.fakes import FakeEngine, make_recipe, says
from tests.unit.evaluate.test_run import in_its_language, run, start, world_at


def judged(folder: Path, *tasks: dict[str, object]) -> dict[str, object]:
    """Return a judge section over files with two questions of two turns, and three of one."""
    for code in ("en", "es", "de"):
        bench = [{"id": n, "turns": [f"{code} {n}?", f"{code} {n} and?"]} for n in range(2)]
        (folder / f"bench.{code}.jsonl").write_text("\n".join(map(json.dumps, bench)))
        care = [{"id": f"c{n}", "instruction": f"{code} c{n}?"} for n in range(3)]
        (folder / f"care.{code}.json").write_text(json.dumps(care, indent=1))
    bench = {"name": "mt_bench", "questions": str(folder / "bench.{language}.jsonl")}
    care = {"name": "care", "questions": str(folder / "care.{language}.json"), "max_tokens": 9}
    endpoint = {"model": "j"}
    return {"judge": {"endpoint": endpoint, "tasks": tasks or [bench, care]}}


def echo(request: ChatRequest) -> Completion:
    return Completion(request.key, f"[{request.messages[-1]['content']}]", "stop", 7, 5)


def test_every_turn_of_every_question_is_answered_in_order(tmp_path):
    engine = FakeEngine(echo)
    answers = answer_questions(engine, make_recipe(**judged(tmp_path)))
    assert [(a.task, a.language, a.item_id, a.turn) for a in answers] == [
        ("mt_bench", code, str(n), turn)
        for code in ("en", "es", "de")
        for n in range(2)
        for turn in range(2)
    ] + [("care", code, f"c{n}", 0) for code in ("en", "es", "de") for n in range(3)]
    assert answers[1].prompt == "en 0 and?"
    assert answers[1].response == "[en 0 and?]"
    assert engine.decodings[0] in (Decoding(max_tokens=1024), Decoding(max_tokens=9))
    assert {request.decoding.max_tokens for request in engine.asked} == {1024, 9}


def test_the_second_turn_sees_the_first_answer(tmp_path):
    engine = FakeEngine(echo)
    answer_questions(engine, make_recipe(**judged(tmp_path)))
    (second,) = [r for r in engine.asked if r.messages[-1]["content"] == "es 1 and?"]
    assert second.messages == [
        {"role": "user", "content": "es 1?"},
        {"role": "assistant", "content": "[es 1?]"},
        {"role": "user", "content": "es 1 and?"},
    ]
    assert len({request.key for request in engine.asked}) == len(engine.asked) == 21
    assert len({request.seed for request in engine.asked}) == 21


def test_a_turn_that_fails_ends_its_conversation_and_no_other(tmp_path):
    def answers_but_one(request: ChatRequest) -> Completion:
        if request.messages[-1]["content"] == "de 0?":
            reason = FinishReason.FAILED
            return Completion(request.key, "", reason, 999, 0, Failure.PROMPT_TOO_LONG)
        return echo(request)

    answers = answer_questions(FakeEngine(answers_but_one), make_recipe(**judged(tmp_path)))
    found = [a for a in answers if (a.task, a.language) == ("mt_bench", "de")]
    assert [(a.item_id, a.turn, a.finish_reason) for a in found] == [
        ("0", 0, "failed"),
        ("1", 0, "stop"),
        ("1", 1, "stop"),
    ]


def test_without_a_judge_nothing_is_asked():
    engine = FakeEngine(echo)
    assert answer_questions(engine, make_recipe()) == []
    assert judged_identity(make_recipe()) == {}
    assert engine.asked == []


def test_head_to_head_asks_nothing_of_its_own(tmp_path):
    section = judged(tmp_path)
    alpaca = {
        "name": "x_alpacaeval",
        "questions": str(tmp_path / "care.{language}.json"),
        "references": "r.{language}.jsonl",
        "languages": ["es"],
    }
    section = judged(tmp_path, alpaca, {"name": "head_to_head"})
    answers = answer_questions(FakeEngine(echo), make_recipe(**section))
    assert [(a.task, a.language, a.item_id) for a in answers] == [
        ("x_alpacaeval", "es", f"c{n}") for n in range(3)
    ]


def test_answers_are_part_of_the_evaluate_stage(tmp_path, monkeypatch):
    world, sections = world_at(tmp_path / "store"), judged(tmp_path)
    numbered = in_its_language()

    def reply(request: ChatRequest) -> Completion:
        return (
            numbered(request) if request.key.startswith("tiny") else says("Hola a todos.")(request)
        )

    engine, started = start(monkeypatch, reply)
    uri = run(world, **sections)
    rows = open_stage(uri).read_records(["answers.parquet"], Answer)
    assert len(rows) == 21
    assert len(started) == 1
    assert {row.detected_language for row in rows} == {"es"}
    assert engine.closed
    unjudged = run(world)
    assert unjudged != uri
    assert open_stage(unjudged).files() == ["items.parquet", "overlaps.parquet"]


def test_another_question_is_another_evaluation_and_another_place_is_not(tmp_path, monkeypatch):
    start(monkeypatch, in_its_language())
    first = judged_identity(make_recipe(**judged(tmp_path)))
    (tmp_path / "moved").mkdir()
    assert judged_identity(make_recipe(**judged(tmp_path / "moved"))) == first
    (tmp_path / "care.es.json").write_text('[{"id": "c0", "instruction": "otra"}]')
    section = judged(tmp_path / "moved")
    (tmp_path / "moved" / "care.es.json").write_text('[{"id": "c0", "instruction": "otra"}]')
    assert judged_identity(make_recipe(**section)) != first


def test_another_criterion_or_reference_is_no_other_evaluation(tmp_path):
    first = judged_identity(make_recipe(**judged(tmp_path)))
    section, file = judged(tmp_path), tmp_path / "care.es.json"
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([row | {"criteria": "brief", "reference": "yes"} for row in rows]))
    assert judged_identity(make_recipe(**section)) == first


def test_a_file_that_is_missing_is_named(tmp_path):
    section = judged(tmp_path)
    (tmp_path / "care.de.json").unlink()
    with pytest.raises(BadInput, match=r"care.de.json: no such file.*judge.tasks.questions"):
        answer_questions(FakeEngine(echo), make_recipe(**section))
