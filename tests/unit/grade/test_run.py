"""The judge's grades of samples, against a scripted server."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.components.grade.run import grade
from lidr.components.shared.config.machine import MACHINE, JudgeServer, Machine
from lidr.components.shared.core.errors import BadInput, EngineFailed
from lidr.components.shared.records.judged import Judgement
from lidr.components.shared.records.schema import Failure, Prompt, Response, Score
from lidr.components.shared.records.scores import SCORES_FILE
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import new_stage, open_stage
from tests.fakes import make_recipe, world_stage
from tests.judges import Asked, Says, ScriptedJudge
from tests.unit.pair.scored import JUDGE, scored_recipe

TEXTS = {"en": ["Four.", "It is 6."], "es": ["Son 6.", "Cuatro."], "de": ["Es sind 6.", "Vier."]}


def by_number(asked: Asked) -> Says:
    return Says(f"Fine.\nScore: {9 if '6' in asked.block('answer') else 2}")


@pytest.fixture
def server(monkeypatch):
    judge = ScriptedJudge(by_number)
    monkeypatch.setenv(
        MACHINE, Machine(judge=JudgeServer(url=judge.url, retries=0, request_seconds=10)).text()
    )
    yield judge
    judge.close()


def answered(folder: Path, failure: Failure | None = None) -> dict[str, str]:
    store = str(folder / "store")
    prompts = [Prompt("p0", code, f"How many in {code}?", "6") for code in TEXTS]
    world = world_stage(store, prompts)
    responses = new_stage(open_store(store), "generate", 1, {"f": str(failure)}, {})
    for code, texts in TEXTS.items():
        rows = [
            Response("p0", code, text, "stop", 7, 5, code, failure if number else None, number)
            for number, text in enumerate(texts)
        ]
        responses.write_records(f"responses/{code}/00000.parquet", rows, Response)
    return {"store": store, "inputs": world.uri, "responses": responses.finish({})}


def run(given: dict[str, str], **judge: object) -> str:
    settings = scored_recipe("judge", judge=JUDGE | judge)
    return grade(recipe=settings.model_dump_json(), iteration=1, **given)


def scores_of(uri: str) -> dict[tuple[str, int], Score]:
    found: list[Score] = open_stage(uri).read_records([SCORES_FILE], Score)
    return {(each.language, each.sample): each for each in found}


def test_every_sample_has_the_grade_that_the_judge_gave(tmp_path: Path, server: ScriptedJudge):
    uri = run(answered(tmp_path), price={"input": 2.5, "output": 10})
    assert {key: each.value for key, each in scores_of(uri).items()} == {
        ("en", 0): 0.2,
        ("en", 1): 0.9,
        ("es", 0): 0.9,
        ("es", 1): 0.2,
        ("de", 0): 0.9,
        ("de", 1): 0.2,
    }
    counts = open_stage(uri).counts()
    assert (counts["responses"], counts["scored"], counts["judgements"]) == (6, 6, 6)
    assert counts["languages"]["es"]["spread"] == pytest.approx(0.7)
    assert counts["dollars"] == pytest.approx((600 * 2.5 + 18 * 10) / 1e6)
    rows: list[Judgement] = open_stage(uri).read_records(["judgements.parquet"], Judgement)
    assert {(row.item_id, row.language, row.turn) for row in rows} == {
        ("p0", code, number) for code in TEXTS for number in (0, 1)
    }


def test_judge_sees_prompt_and_answer_and_no_reference_answer(
    tmp_path: Path, server: ScriptedJudge
):
    run(answered(tmp_path))
    assert len(server.asked) == 6
    asked = next(each for each in server.asked if each.block("answer") == "Son 6.")
    assert asked.block("user") == "How many in es?"
    assert "must be in Spanish" in asked.text
    assert "[reference" not in asked.text


def test_samples_without_a_text_are_not_asked_about(tmp_path: Path, server: ScriptedJudge):
    found = scores_of(run(answered(tmp_path, Failure.TRUNCATED)))
    assert len(server.asked) == 3
    assert (found["es", 1].value, found["es", 1].failure) == (None, "truncated")


def test_what_the_judge_does_not_say_is_no_score(tmp_path: Path, server: ScriptedJudge):
    server.script = lambda asked: Says("I like it.") if "Vier" in asked.text else by_number(asked)
    uri = run(answered(tmp_path), max_failed_share=0.5)
    found = scores_of(uri)
    assert (found["de", 1].value, found["de", 1].failure) == (None, "unparsable")
    assert open_stage(uri).counts()["failures"] == {"unparsable": 1}
    with pytest.raises(EngineFailed, match=r"failed 1 of 6 .*\(1 unparsable\) in .*/grade/"):
        run(answered(tmp_path), max_failed_share=0.1)
    server.script = lambda asked: Says("I like it.")
    with pytest.raises(EngineFailed, match="the judge failed"):
        run(answered(tmp_path), max_failed_share=0.5, max_tokens=99)


def test_a_step_that_failed_asks_for_the_rest(tmp_path: Path, server: ScriptedJudge):
    calls: list[str] = []

    def broken(asked: Asked) -> Says:
        calls.append(asked.block("answer"))
        return Says(status=500) if len(calls) > 3 else by_number(asked)

    server.script = broken
    with pytest.raises(EngineFailed):
        run(answered(tmp_path), chunk_size=1, max_failed_share=0.0)
    first = len(server.asked)
    server.script = by_number
    uri = run(answered(tmp_path), chunk_size=1, max_failed_share=0.0)
    assert len(server.asked) - first == 3
    assert open_stage(uri).counts()["scored"] == 6
    assert run(answered(tmp_path)) == uri, "neither chunks nor bounds are part of its address"


def test_a_recipe_without_a_judge_is_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="the recipe has no judge"):
        grade(recipe=make_recipe().model_dump_json(), iteration=1, **answered(tmp_path))
