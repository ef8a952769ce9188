from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from lidr.components.generate.run import generate
from lidr.components.rollout.prompts import PromptBook
from lidr.components.rollout.stages import generate_stage
from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.records.parquet import to_parquet
from lidr.components.shared.records.schema import (
    Failure,
    FinishReason,
    Prompt,
    Response,
)
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import MARKER, open_stage
from tests.fakes import (
    DyingEngine,
    FakeEngine,
    make_recipe,
    says,
    tell,
    use_engine,
    world_stage,
)

LANGUAGES = ("en", "es", "de")

PROMPTS = [
    Prompt(f"p{number}", code, f"Question {number} in {code}?")
    for code in LANGUAGES
    for number in range(5)
]


@pytest.fixture
def world(tmp_path) -> str:
    return world_stage(str(tmp_path / "store"), PROMPTS).uri


def run(world: str, iteration: int = 1, **sections: object) -> str:
    store = world.rpartition("/stages/")[0]
    recipe = make_recipe(**sections).model_dump_json()
    return generate(recipe=recipe, store=store, inputs=world, model=world, iteration=iteration)


def responses(uri: str) -> dict[tuple[str, str], Response]:
    stage = open_stage(uri)
    rows = stage.read_records(stage.files(prefix="responses/"), Response)
    return {(row.prompt_id, row.language): row for row in rows}


def echo(request: ChatRequest) -> Completion:
    text = f"Answer to: {request.messages[0]['content']}"
    return Completion(request.key, text, FinishReason.STOP, 7, 5)


@pytest.mark.parametrize(
    ("per_iteration", "iteration", "chosen"),
    [
        (2, 1, "ab"),
        (2, 2, "cd"),
        (2, 3, "ea"),
        (2, 4, "bc"),
        (5, 2, "abcde"),
        (4, 2, "eabc"),
        (9, 1, "abcde"),
        (9, 3, "abcde"),
        (1, 6, "a"),
    ],
)
def test_each_iteration_takes_the_next_prompts_and_starts_over(
    per_iteration, iteration, chosen, tmp_path
):
    prompts = [Prompt(letter, "en", letter) for letter in "abcde"]
    world = open_stage(world_stage(str(tmp_path), prompts).uri)
    book = PromptBook(world, per_iteration, iteration)
    found = book.read("en", 0, 2) + book.read("en", 2, 9)
    assert "".join(prompt.prompt_id for prompt in found) == chosen


def test_every_prompt_is_answered_in_every_language(world, monkeypatch):
    use_engine(monkeypatch, FakeEngine(echo))
    found = responses(run(world))
    assert set(found) == {(f"p{n}", code) for n in range(4) for code in LANGUAGES}
    for (prompt_id, code), response in found.items():
        assert response.text == f"Answer to: Question {prompt_id[1:]} in {code}?"
        assert (response.finish_reason, response.failure) == ("stop", None)


def test_the_engine_is_asked_as_the_recipe_says_and_closed(world, monkeypatch):
    engine = FakeEngine(echo)
    started = use_engine(monkeypatch, engine)
    settings = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.1, "max_tokens": 9}
    run(world, generation={"engine": "transformers"} | settings)
    [decoding] = engine.decodings
    assert {name: getattr(decoding, name) for name in settings} == settings
    assert decoding.stop == ()
    assert [folder.name for folder in started] == ["model"]
    assert engine.closed


def test_every_request_has_its_own_seed_that_repeats(world, monkeypatch):
    first, second, other = FakeEngine(echo), FakeEngine(echo), FakeEngine(echo)
    use_engine(monkeypatch, first)
    run(world)
    use_engine(monkeypatch, second)
    run(world, generation={"engine": "transformers", "chunk_size": 3})
    use_engine(monkeypatch, other)
    run(world, seed=1)
    seeds = [
        {request.messages[0]["content"]: request.seed for request in engine.asked}
        for engine in (first, second, other)
    ]
    assert len(set(seeds[0].values())) == 12
    assert seeds[0] == seeds[1], "seeds depend on how the work was cut"
    assert not set(seeds[0].values()) & set(seeds[2].values())


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (says("Fine."), None),
        (says("Cut off", FinishReason.LENGTH), Failure.TRUNCATED),
        (says(" \n"), Failure.EMPTY),
        (says("", FinishReason.LENGTH), Failure.TRUNCATED),
    ],
)
def test_what_is_no_answer_has_a_reason(world, monkeypatch, answer, failure):
    use_engine(monkeypatch, FakeEngine(answer))
    uri = run(world)
    assert {row.failure for row in responses(uri).values()} == {failure}
    counted = {} if failure is None else {failure.value: 4}
    assert open_stage(uri).counts()["languages"]["es"]["failures"] == counted


def test_a_prompt_the_engine_cannot_take_is_a_failure_not_an_end(world, monkeypatch):
    def refuse_one(request: ChatRequest) -> Completion:
        if "Question 2 in es" in request.messages[0]["content"]:
            return Completion(request.key, "", FinishReason.FAILED, 999, 0, Failure.PROMPT_TOO_LONG)
        return echo(request)

    use_engine(monkeypatch, FakeEngine(refuse_one))
    found = responses(run(world))
    assert found["p2", "es"].failure == "prompt_too_long"
    assert sum(row.failure is None for row in found.values()) == 11


def test_the_counts_are_those_of_the_records(world, monkeypatch):
    def mostly_english(request: ChatRequest) -> Completion:
        german = "in de?" in request.messages[0]["content"]
        text = "Das ist eine ausführliche Antwort." if german else "This is a thorough answer."
        return Completion(request.key, text, FinishReason.STOP, 7, 5)

    use_engine(monkeypatch, FakeEngine(mostly_english))
    counts = open_stage(run(world)).counts()
    assert counts["responses"] == 12
    off_target = {code: found["off_target"] for code, found in counts["languages"].items()}
    assert off_target == {"en": 0.0, "es": 1.0, "de": 0.0}
    assert counts["languages"]["es"]["output_tokens"] == 20
    assert counts["languages"]["es"]["prompt_tokens"] == 28
    assert (counts["engine"], counts["engine_reason"]) == (
        "transformers",
        "the run's recipe names it",
    )


def test_a_finished_stage_is_not_computed_again(world, monkeypatch):
    use_engine(monkeypatch, FakeEngine(echo))
    uri = run(world)
    started = use_engine(monkeypatch, FakeEngine(echo))
    assert run(world) == uri
    assert started == []


def test_another_iteration_seed_or_setting_is_another_stage(world, monkeypatch):
    use_engine(monkeypatch, FakeEngine(echo))
    uris = {
        run(world),
        run(world, iteration=2),
        run(world, seed=1),
        run(world, generation={"engine": "transformers", "max_tokens": 9}),
        run(world, prompts={"per_iteration": 3}),
    }
    assert len(uris) == 5
    assert run(world, training={"beta": 0.5}) in uris, "training is not generate's business"


def test_an_interrupted_stage_goes_on_with_the_missing_chunks(world, monkeypatch):
    dying = DyingEngine(echo, after=7)
    use_engine(monkeypatch, dying)
    tell(monkeypatch, restarts=0)
    with pytest.raises(EngineFailed):
        run(world)
    assert dying.closed
    resumed = FakeEngine(echo)
    use_engine(monkeypatch, resumed)
    uri = run(world)
    assert len(resumed.asked) == 6, "three chunks of two were finished before"
    assert len(responses(uri)) == 12

    whole_store = world.rpartition("/stages/")[0] + "-whole"
    other = world_stage(whole_store, PROMPTS).uri
    assert responses(run(other)) == responses(uri)


def test_an_engine_that_forgets_a_request_cannot_finish_the_stage(world, monkeypatch):
    class Forgetful(FakeEngine):
        def complete(self, requests):
            return islice(super().complete(requests), 11)

    use_engine(monkeypatch, Forgetful(echo))
    tell(monkeypatch, restarts=0)
    with pytest.raises(EngineFailed, match="1 requests unanswered"):
        run(world)
    store = open_store(world.rpartition("/stages/")[0])
    assert not [entry for entry in store.list("stages/generate") if entry.key.endswith(MARKER)]


def test_an_engine_that_dies_is_started_again_with_the_rest(world, monkeypatch):
    dying = DyingEngine(echo, after=7)
    started = use_engine(monkeypatch, dying)
    uri = run(world)
    assert len(started) == 2
    assert len(dying.asked) == 8 + 6, "finished chunks are not asked again"
    assert len(responses(uri)) == 12
    assert open_stage(uri).counts()["engine_starts"] == 2


def test_an_engine_that_dies_again_and_again_ends_the_stage_in_its_own_words(world, monkeypatch):
    tell(monkeypatch, restarts=3)
    started = use_engine(monkeypatch, DyingEngine(echo, after=1))
    with pytest.raises(EngineFailed, match="the engine died"):
        run(world)
    assert len(started) == 4


def test_a_chunk_that_another_worker_wrote_stays_as_it_is(world, monkeypatch):
    def answer_late(request: ChatRequest) -> Completion:
        stage = generate_stage(make_recipe(), *store_and_uris(world), 1)
        first = Response("p0", "en", "the other worker's", "stop", 1, 1, "en")
        rows = [first, replace(first, prompt_id="p1")]
        stage.create("responses/en/00000.parquet", to_parquet(rows, Response))
        return echo(request)

    use_engine(monkeypatch, FakeEngine(answer_late))
    found = responses(run(world))
    assert found["p0", "en"].text == found["p1", "en"].text == "the other worker's"
    assert found["p2", "en"].text == "Answer to: Question 2 in en?"


def store_and_uris(world: str) -> tuple[str, str, str]:
    return world.rpartition("/stages/")[0], world, world


def test_an_answer_that_goes_in_circles_is_called_so(world, monkeypatch):
    use_engine(monkeypatch, FakeEngine(says("over and over again " * 9, FinishReason.LENGTH)))
    assert {row.failure for row in responses(run(world)).values()} == {"repetition"}
