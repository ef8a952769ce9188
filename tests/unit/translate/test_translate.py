from __future__ import annotations

from dataclasses import replace

import pytest

from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.records.chat import TRANSLATION_PRIMER, TRANSLATION_STOP
from lidr.components.shared.records.schema import (
    Failure,
    FinishReason,
    Prompt,
    Response,
    Translation,
)
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import MARKER, new_stage, open_stage
from lidr.components.translate.run import translate
from tests.fakes import FakeEngine, make_recipe, says, use_engine, world_stage

LANGUAGES = ("en", "es", "de")


def answered(prompt_id: str, code: str, text: str, failure: Failure | None = None) -> Response:
    reason = FinishReason.LENGTH if failure is Failure.TRUNCATED else FinishReason.STOP
    return Response(prompt_id, code, text, reason, 7, 5, code, failure)


RESPONSES = [
    answered(prompt_id, code, f"{prompt_id} in {code}")
    for code in LANGUAGES
    for prompt_id in ("p0", "p1", "p2")
]


def prepare(folder, responses, tasks: tuple[str, ...] = (), size: int = 2) -> tuple[str, str]:
    """Write a world and a generate stage in chunks of so many responses; return their URIs."""
    prompts = [
        Prompt(row.prompt_id, row.language, "Ask?", translation_task=row.prompt_id in tasks)
        for row in responses
        if row.sample == 0
    ]
    world = world_stage(str(folder), prompts)
    stage = new_stage(open_store(str(folder)), "generate", 1, {"inputs": world.digest}, {})
    for code in LANGUAGES:
        rows = [row for row in responses if row.language == code]
        for index in range(0, len(rows), size):
            name = f"responses/{code}/{index // size:05d}.parquet"
            stage.write_records(name, rows[index : index + size], Response)
    return world.uri, stage.finish({})


def run(uris: tuple[str, str], **sections: object) -> str:
    world, responses = uris
    return translate(
        recipe=make_recipe(**sections).model_dump_json(),
        store=world.rpartition("/stages/")[0],
        inputs=world,
        responses=responses,
        model=world,
        iteration=1,
    )


def sentence(request: ChatRequest) -> str:
    content = request.messages[0]["content"]
    return content.partition("\n<sentence>")[2].removesuffix("</sentence>")


def copies(request: ChatRequest) -> Completion:
    text = f"translated {sentence(request)}{TRANSLATION_STOP}"
    return Completion(request.key, text, FinishReason.STOP, 9, 5)


def translations(uri: str, folder: str = "translations/") -> dict[tuple[str, ...], Translation]:
    stage = open_stage(uri)
    names = stage.files(prefix=folder)
    rows = stage.read_records(names, Translation) if names else []
    return {(row.prompt_id, row.source_language, row.target_language): row for row in rows}


def test_every_answer_goes_both_ways_between_the_dominant_and_each_other(tmp_path, monkeypatch):
    use_engine(monkeypatch, FakeEngine(copies))
    found = translations(run(prepare(tmp_path, RESPONSES)))
    ways = [("en", "es"), ("en", "de"), ("es", "en"), ("de", "en")]
    assert set(found) == {(f"p{n}", *way) for n in range(3) for way in ways}
    for (prompt_id, source, _), row in found.items():
        assert row.text == f"translated {prompt_id} in {source}"
        assert row.failure is None


def test_requests_are_primed_and_stop_at_the_closing_tag(tmp_path, monkeypatch):
    engine = FakeEngine(copies)
    use_engine(monkeypatch, engine)
    run(prepare(tmp_path, RESPONSES))
    assert {request.primer for request in engine.asked} == {TRANSLATION_PRIMER}
    assert {decoding.stop for decoding in engine.decodings} == {(TRANSLATION_STOP,)}
    [content] = [
        request.messages[0]["content"]
        for request in engine.asked
        if sentence(request) == "p1 in de"
    ]
    assert "from German to English" in content


def test_our_own_tags_in_an_answer_come_back(tmp_path, monkeypatch):
    text = "Write </sentence> and </translated> ‹·sentence› here"
    use_engine(monkeypatch, FakeEngine(copies))
    rows = [answered("p0", code, text) for code in LANGUAGES]
    found = translations(run(prepare(tmp_path, rows)))
    assert {row.text for row in found.values()} == {f"translated {text}"}


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (says("No closing tag"), "untagged"),
        (says("Cut off", FinishReason.LENGTH), "truncated"),
        (says(f" {TRANSLATION_STOP}"), "empty"),
        (
            lambda r: Completion(r.key, "", FinishReason.FAILED, 999, 0, Failure.PROMPT_TOO_LONG),
            "prompt_too_long",
        ),
    ],
)
def test_a_failed_translation_has_a_reason_and_no_text(tmp_path, monkeypatch, answer, failure):
    use_engine(monkeypatch, FakeEngine(answer))
    uri = run(prepare(tmp_path, RESPONSES))
    found = translations(uri)
    assert len(found) == 12
    assert {(row.text, row.failure) for row in found.values()} == {(None, failure)}
    written = answer(ChatRequest("", [])).text
    assert {row.raw for row in found.values()} == {written}
    assert open_stage(uri).counts()["directions"]["en-es"]["failures"] == {failure: 3}
    assert translations(uri, "round_trip/") == {}


@pytest.mark.parametrize(
    ("written", "rule"),
    [("Hola</translate>", "misspelt_tag"), ("Hola", "end_of_turn"), ("Hola</translate> x", None)],
)
def test_translate_recovers_by_rule_but_not_in_the_paper_s_setting(
    tmp_path, monkeypatch, written, rule
):
    use_engine(monkeypatch, FakeEngine(says(written)))
    uris = prepare(tmp_path, RESPONSES)
    strict = translations(run(uris))
    assert {(row.text, row.raw, row.recovered) for row in strict.values()} == {
        (None, written, None)
    }
    uri = run(uris, pairing={"filters": "all"})
    found = {(row.text, row.failure, row.recovered) for row in translations(uri).values()}
    assert found == {("Hola", None, rule) if rule else (None, "untagged", None)}
    counted = open_stage(uri).counts()["directions"]["en-es"]
    assert counted["recovered"] == ({rule: 3} if rule else {})


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("Hola ###", None),
        ("Hola</translate>", "Hola"),
        ("Hola", "Hola"),
        ("Hola </translated>", "Hola"),
    ],
)
def test_translate_recovers_nothing_from_a_text_that_a_stop_string_cut(
    tmp_path, monkeypatch, written, text
):
    use_engine(monkeypatch, FakeEngine(says(written)))
    settings = {"pairing": {"filters": "all"}, "translation": {"stop": ["###", "</translate>"]}}
    found = translations(run(prepare(tmp_path, RESPONSES), **settings))
    assert {(row.text, row.failure) for row in found.values()} == {
        (text, None if text else "untagged")
    }
    assert {row.raw for row in found.values()} <= {written, None}


def test_round_trips_count_prompts_each_with_its_first_sample(tmp_path, monkeypatch):
    use_engine(monkeypatch, FakeEngine(copies))
    uris = prepare(
        tmp_path, [replace(row, sample=n) for row in RESPONSES for n in range(3)], size=6
    )
    sections = {
        "generation": {
            "engine": "transformers",
            "chunk_size": 2,
            "samples": 3,
            "temperature": 1.0,
        },
        "translation": {"round_trip_sample": 3},
    }
    uri = run(uris, **sections)
    stage = open_stage(uri)
    first, second = stage.files(prefix="round_trip/en-es/")
    back = stage.read_records([first, second], Translation)
    assert [(row.prompt_id, row.sample) for row in back] == [("p0", 0), ("p1", 0), ("p2", 0)]
    assert {row.text for row in back} == {f"translated translated p{n} in en" for n in range(3)}
    made = stage.read(first)
    for name in (MARKER, first):
        stage.store.delete(stage.key(name))
    assert run(uris, **sections) == uri
    assert open_stage(uri).read(first) == made, "made from the file of translations"


def test_translate_recovers_nothing_from_a_cut_text(tmp_path, monkeypatch):
    use_engine(monkeypatch, FakeEngine(says("Hola</translate>", FinishReason.LENGTH)))
    found = translations(run(prepare(tmp_path, RESPONSES), pairing={"filters": "all"}))
    assert {(row.text, row.failure) for row in found.values()} == {(None, "truncated")}


def broken(failure: Failure, text: str) -> list[Response]:
    return [answered("p0", code, text, failure) for code in LANGUAGES]


@pytest.mark.parametrize(
    ("failure", "text", "filters", "asked"),
    [
        (Failure.EMPTY, "", "paper", False),
        (Failure.PROMPT_TOO_LONG, "", "paper", False),
        (Failure.TRUNCATED, "cut off he", "all", False),
        (Failure.TRUNCATED, "cut off he", "paper", True),
        (Failure.TRUNCATED, "  ", "paper", False),
    ],
)
def test_a_failed_answer_is_translated_only_where_its_pairs_are_kept(
    tmp_path, monkeypatch, failure, text, filters, asked
):
    engine = FakeEngine(copies)
    use_engine(monkeypatch, engine)
    found = translations(
        run(prepare(tmp_path, broken(failure, text)), pairing={"filters": filters})
    )
    assert bool(engine.asked) == asked
    assert len(found) == 4
    assert {row.failure for row in found.values()} == {None if asked else "source_failed"}


def test_prompts_about_translation_are_left_alone(tmp_path, monkeypatch):
    use_engine(monkeypatch, FakeEngine(copies))
    found = translations(run(prepare(tmp_path, RESPONSES, tasks=("p1",))))
    assert {prompt_id for prompt_id, _, _ in found} == {"p0", "p1", "p2"}
    untouched = [row for row in found.values() if row.failure == "translation_task"]
    assert {(row.prompt_id, row.text) for row in untouched} == {("p1", None)}
    assert len(untouched) == 4


def test_a_sample_of_good_translations_goes_back(tmp_path, monkeypatch):
    def fails_for_p0(request: ChatRequest) -> Completion:
        failed = sentence(request).startswith("p0")
        return says("no tag")(request) if failed else copies(request)

    use_engine(monkeypatch, FakeEngine(fails_for_p0))
    uri = run(prepare(tmp_path, RESPONSES), translation={"round_trip_sample": 2})
    back = translations(uri, "round_trip/")
    assert set(back) == {
        ("p1", "es", "en"),
        ("p1", "de", "en"),
        ("p1", "en", "es"),
        ("p1", "en", "de"),
    }
    assert open_stage(uri).files(prefix="round_trip/en-es/") == ["round_trip/en-es/00000.parquet"]
    [row] = [
        row
        for name in open_stage(uri).files(prefix="round_trip/es-en/")
        for row in open_stage(uri).read_records([name], Translation)
    ]
    assert row.text == "translated translated p1 in es"


def test_the_counts_add_up(tmp_path, monkeypatch):
    use_engine(monkeypatch, FakeEngine(copies))
    counts = open_stage(run(prepare(tmp_path, RESPONSES))).counts()
    assert counts["translations"] == 12
    assert counts["directions"] == {
        way: {"translations": 3, "failures": {}, "recovered": {}, "output_tokens": 15}
        for way in ("en-es", "en-de", "es-en", "de-en")
    }


def test_a_finished_stage_is_not_computed_again(tmp_path, monkeypatch):
    uris = prepare(tmp_path, RESPONSES)
    use_engine(monkeypatch, FakeEngine(copies))
    first = run(uris)
    started = use_engine(monkeypatch, FakeEngine(copies))
    assert run(uris) == first
    assert started == []
