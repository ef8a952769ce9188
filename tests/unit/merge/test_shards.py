"""However the work is shared out and whatever is fused, the records are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lidr.components.generate.run import generate
from lidr.components.merge.run import merge
from lidr.components.pair.run import pair
from lidr.components.rollout import figures, summaries
from lidr.components.rollout.stages import generate_stage
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.core.errors import CorruptStage, EngineFailed
from lidr.components.shared.core.events import listening
from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.records.chat import TRANSLATION_STOP
from lidr.components.shared.records.parquet import to_parquet
from lidr.components.shared.records.schema import (
    FinishReason,
    PreferencePair,
    Prompt,
    Response,
    Translation,
)
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage, locate_stage, open_stage
from lidr.components.translate.run import translate
from tests.fakes import DyingEngine, FakeEngine, make_recipe, tell, use_engine, world_stage

COUNT = 11
PROMPTS = [
    Prompt(f"p{number}", code, f"Question {number} in {code}?", translation_task=number == 4)
    for code in ("en", "es", "de")
    for number in range(COUNT)
]


def answer(request: ChatRequest) -> Completion:
    content = request.messages[0]["content"]
    if request.primer:
        tail = content[-30:].replace("<", "(")  # a copied tag would be a failure
        return Completion(request.key, f"T({tail}){TRANSLATION_STOP}", "stop", 9, 4)
    if "Question 7 in es" in content:
        return Completion(request.key, "cut of", FinishReason.LENGTH, 7, 5)
    return Completion(request.key, f"A({content})", FinishReason.STOP, 7, 5)


def recipe(**generation: object) -> str:
    settings = {"engine": "transformers", "chunk_size": 2, **generation}
    sections = {
        "prompts": {"per_iteration": COUNT},
        "translation": {"round_trip_sample": 5},
        "pairing": {"filters": "all"},
    }
    return make_recipe(generation=settings, **sections).model_dump_json()


def unmerged(folder, monkeypatch, shards: int = 1, **engine: object) -> tuple[dict, str, str]:
    """Run both steps in every shard; return what they have in common, and both URIs."""
    tell(monkeypatch, **engine)
    use_engine(monkeypatch, FakeEngine(answer))
    world = world_stage(str(folder), PROMPTS).uri
    common = {"recipe": recipe(), "store": str(folder), "inputs": world, "model": world}
    common["iteration"] = 1
    for shard in range(shards):
        share = {"shard": shard, "shards": shards}
        responses = generate(**common, **share)
        translations = translate(**common, responses=responses, **share)
    return common, responses, translations


def separate(folder, monkeypatch, shards: int = 1, **engine: object) -> tuple[str, str]:
    """Run both steps in every shard, then merge where there are several."""
    common, responses, translations = unmerged(folder, monkeypatch, shards, **engine)
    if shards > 1:
        assert merge(**common) == (responses, translations)
    return responses, translations


def content(uri: str) -> tuple[dict, dict]:
    """Return a finished stage's file digests, and what it counted of the records."""
    stage = open_stage(uri)
    counts = {
        name: stage.counts()[name]
        for name in ("responses", "translations", "languages", "directions")
        if name in stage.counts()
    }
    return {name: file["sha256"] for name, file in stage.marker()["files"].items()}, counts


@pytest.fixture
def whole(tmp_path, monkeypatch) -> tuple:
    return tuple(map(content, separate(tmp_path / "whole", monkeypatch)))


def test_every_place_has_a_record(whole):
    (_, responses), (files, translations) = whole
    assert responses["responses"] == 3 * COUNT
    assert responses["languages"]["es"]["failures"] == {"truncated": 1}
    assert translations["translations"] == 4 * COUNT
    assert translations["directions"]["es-en"]["failures"] == {
        "source_failed": 1,
        "translation_task": 1,
    }
    assert sorted(name for name in files if name.startswith("round_trip/en-es")) == [
        f"round_trip/en-es/0000{index}.parquet" for index in range(3)
    ]


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_shards_change_nothing(shards, whole, tmp_path, monkeypatch):
    assert tuple(map(content, separate(tmp_path / "shards", monkeypatch, shards))) == whole


@pytest.mark.parametrize("shards", [1, 3])
def test_a_fused_rollout_changes_nothing(shards, whole, tmp_path, monkeypatch):
    uris = separate(tmp_path / "fused", monkeypatch, shards, fused=True)
    assert tuple(map(content, uris)) == whole


def test_a_fused_rollout_starts_one_engine(tmp_path, monkeypatch):
    world = world_stage(str(tmp_path), PROMPTS).uri
    common = {"recipe": recipe(), "store": str(tmp_path), "inputs": world, "model": world}
    tell(monkeypatch, fused=True)
    started = use_engine(monkeypatch, FakeEngine(answer))
    responses = generate(**common, iteration=1)
    translate(**common, responses=responses, iteration=1)
    assert len(started) == 1


def test_translations_follow_from_the_answers_that_another_worker_wrote_first(
    tmp_path, monkeypatch
):
    store, world = str(tmp_path), world_stage(str(tmp_path), PROMPTS).uri
    common = {"recipe": recipe(), "store": store, "inputs": world, "model": world, "iteration": 1}
    stage = generate_stage(Recipe.model_validate_json(recipe()), store, world, world, 1)
    rows = [Response(f"p{n}", "en", f"other {n}", "stop", 7, 5, "en") for n in range(2)]

    def late(request: ChatRequest) -> Completion:
        stage.create("responses/en/00000.parquet", to_parquet(rows, Response))
        return answer(request)

    tell(monkeypatch, fused=True)
    started = use_engine(monkeypatch, FakeEngine(late))
    responses = generate(**common)
    found = open_stage(translate(**common, responses=responses))
    for direction in ("en-es", "en-de"):
        name = f"translations/{direction}/00000.parquet"
        texts = [row.text or "" for row in found.read_records([name], Translation)]
        assert [f"other {n}" in text for n, text in enumerate(texts)] == [True, True]
    assert len(started) == 1, "the engine itself did not fail"


@pytest.mark.parametrize(
    "after",
    [pytest.param(n, marks=pytest.mark.long if n % 27 else ()) for n in range(0, 90, 9)],
)
def test_a_fused_rollout_goes_on_wherever_it_ended(after, whole, tmp_path, monkeypatch):
    world = world_stage(str(tmp_path / "cut"), PROMPTS).uri
    tell(monkeypatch, fused=True, restarts=0)
    use_engine(monkeypatch, DyingEngine(answer, after))
    with pytest.raises(EngineFailed):
        generate(
            recipe=recipe(),
            store=str(tmp_path / "cut"),
            inputs=world,
            model=world,
            iteration=1,
        )
    uris = separate(tmp_path / "cut", monkeypatch, fused=True)
    assert tuple(map(content, uris)) == whole


def test_merging_before_all_is_there_names_a_missing_chunk(tmp_path, monkeypatch):
    use_engine(monkeypatch, FakeEngine(answer))
    world = world_stage(str(tmp_path), PROMPTS).uri
    common = {"recipe": recipe(), "store": str(tmp_path), "inputs": world, "model": world}
    generate(**common, iteration=1, shard=0, shards=2)
    with pytest.raises(EngineFailed, match=r"9 of 18 chunks are missing, first .*/00001\.parquet"):
        merge(**common, iteration=1)


@pytest.mark.parametrize("folder", ["translations", "round_trip"])
def test_merging_a_damaged_chunk_seals_no_stage_and_its_remedy_helps(
    folder, whole, tmp_path, monkeypatch
):
    common, responses, uri = unmerged(tmp_path, monkeypatch, 2)
    stage = locate_stage(uri)
    key = stage.store.list(stage.key(folder))[0].key
    stage.store.write(key, stage.store.read(key)[:-9])
    with pytest.raises(CorruptStage, match=rf"Delete {stage.store.uri}/{key} and run again"):
        merge(**common)
    assert not stage.done()
    stage.store.delete(key)
    for shard in range(2):
        translate(**common, responses=responses, shard=shard, shards=2)
    merge(**common)
    assert (content(responses), content(uri)) == whole


def test_several_samples_of_each_prompt_keep_apart(tmp_path, monkeypatch):
    sampling = {"samples": 3, "temperature": 0.7}

    def both(folder, shards=1, **engine):
        tell(monkeypatch, **engine)
        use_engine(monkeypatch, FakeEngine(answer_with_seed))
        world = world_stage(str(folder), PROMPTS).uri
        given = recipe(**sampling)
        common = {"recipe": given, "store": str(folder), "inputs": world, "model": world}
        for shard in range(shards):
            share = {"shard": shard, "shards": shards, "iteration": 1}
            responses = generate(**common, **share)
            translations = translate(**common, responses=responses, **share)
        if shards > 1:
            merge(**common, iteration=1)
        return {**common, "responses": responses, "translations": translations, "iteration": 1}

    plain = both(tmp_path / "plain")
    stage = open_stage(plain["responses"])
    rows = stage.read_records(stage.files(prefix="responses/es/"), Response)
    assert [(row.prompt_id, row.sample) for row in rows] == [
        (f"p{number}", sample) for number in range(COUNT) for sample in range(3)
    ]
    assert len({row.text for row in rows if row.failure is None}) == 3 * (COUNT - 1)
    for other in (both(tmp_path / "shards", 2), both(tmp_path / "fused", fused=True)):
        for key in ("responses", "translations"):
            assert content(other[key]) == content(plain[key])

    plain["rewards"] = plain.pop("translations")
    pairs = open_stage(pair(**plain)).read_records(["pairs.parquet"], PreferencePair)
    ids = {(p.prompt_id, p.sample, p.language, p.other_language, p.kind) for p in pairs}
    assert len(ids) == len(pairs)
    assert {p.sample for p in pairs} == {0, 1, 2}
    for made in pairs:
        sides = [made.chosen[0]["content"], made.rejected[0]["content"]]
        own = next(text for text in sides if text.startswith("A("))
        assert own.endswith(f"#{made.sample}")


def answer_with_seed(request: ChatRequest) -> Completion:
    """Answer as `answer` does, with the number of the sample that the seed is of."""
    content = request.messages[0]["content"]
    if request.primer:
        return answer(request)
    for sample in range(3):
        purpose = f"answer, sample {sample}" if sample else "answer"
        for code in ("en", "es", "de"):
            if request.seed == seed_of(0, 1, request_id(content), code, purpose):
                return replace(answer(request), text=f"A({content})#{sample}")
    raise AssertionError(f"the seed {request.seed} is of no sample")


def request_id(content: str) -> str:
    return f"p{content.split()[1]}"


def test_a_stop_string_is_no_part_of_an_answer(tmp_path, monkeypatch):
    def ended(request: ChatRequest) -> Completion:
        assert request.decoding.stop[-2:] == ("###", "\n\n")
        text = f"T{TRANSLATION_STOP}" if request.primer else "An answer###"
        return Completion(request.key, text, FinishReason.STOP, 7, 5)

    use_engine(monkeypatch, FakeEngine(ended))
    world = world_stage(str(tmp_path), PROMPTS).uri
    settings = make_recipe(
        generation={"engine": "transformers", "stop": ["###", "\n\n"]},
        translation={"stop": ["###", "\n\n"]},
    ).model_dump_json()
    common = {"recipe": settings, "store": str(tmp_path), "inputs": world, "model": world}
    responses = generate(**common, iteration=1)
    stage = open_stage(responses)
    rows = stage.read_records(stage.files(prefix="responses/"), Response)
    assert {row.text for row in rows} == {"An answer"}
    translated = open_stage(translate(**common, responses=responses, iteration=1))
    assert translated.counts()["directions"]["en-es"]["failures"] == {}


def test_merge_adds_up_what_the_shards_engines_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "gpu_count", lambda: 2)
    responses, translations = separate(tmp_path, monkeypatch, 3)
    for uri in (responses, translations):
        counts = open_stage(uri).counts()
        assert (counts["engine"], counts["workers"], counts["engine_starts"]) == (
            "transformers",
            3,
            3,
        )
        assert counts["tokens_per_second"] > 0
        assert counts["worker_gpus"] == 2 and counts["gpu_seconds"] > 2 * counts["held_seconds"]
        assert not [name for name in open_stage(uri).files() if name.startswith("engine/")]


def test_merge_that_dies_before_the_marker_keeps_what_the_shards_measured(tmp_path, monkeypatch):
    def dies(*_: object, **__: object) -> None:
        raise OSError("the power is out")

    common, responses, _ = unmerged(tmp_path, monkeypatch, 3)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="the power is out"):
        patch.setattr(Stage, "finish", dies)
        merge(**common)
    merge(**common)
    assert open_stage(responses).counts()["workers"] == 3


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("fused", [False, True])
def test_notes_that_a_kill_after_the_marker_has_left_go_when_the_stage_is_reused(
    shards, fused, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(summaries, "delete_notes", lambda *_: None)
        found = separate(tmp_path, patch, shards, fused=fused)
    stages = [open_stage(uri) for uri in found]
    assert any(stage.store.list(stage.key("engine")) for stage in stages)
    assert separate(tmp_path, monkeypatch, shards, fused=fused) == found
    assert not any(stage.store.list(stage.key("engine")) for stage in stages)


@pytest.mark.parametrize("note", [b'{"shard": 0, "hel', b"{}", b"[]", b"\xff"])
def test_merge_leaves_out_a_damaged_note_and_says_so(note, tmp_path, monkeypatch):
    common, uri, _ = unmerged(tmp_path, monkeypatch, 3)
    stage = locate_stage(uri)
    key = stage.store.list(stage.key("engine"))[0].key
    stage.store.write(key, note)
    events: list[dict] = []
    with listening(events.append):
        merge(**common)
    (warning,) = [each["message"] for each in events if each["event"] == "warning"]
    assert f"a worker's figures are left out: {stage.store.uri}/{key}: " in warning
    assert open_stage(uri).counts()["workers"] == 2


def test_every_worker_logs_its_figures(tmp_path, monkeypatch):
    use_engine(monkeypatch, FakeEngine(answer))
    world = world_stage(str(tmp_path), PROMPTS).uri
    common = {"recipe": recipe(), "store": str(tmp_path), "inputs": world, "model": world}
    logged: dict[str, float] = {}
    generate(**common, iteration=1, shard=1, shards=2, log=logged.__setitem__)
    assert logged["tokens_per_second"] > 0
    assert logged["failed_share"] == logged["truncated_share"] == 1 / 15
    logged.clear()
    generate(**common, iteration=1, log=logged.__setitem__)
    assert logged["failed_share"] == 1 / 33


def test_a_note_that_comes_while_the_stage_is_finished_is_no_part_of_it(
    tmp_path, monkeypatch, whole
):
    collect_notes = summaries.collect_notes

    def and_another_comes(stage):
        found = collect_notes(stage)
        stage.store.write(stage.key("engine/late.json"), b"{}")
        return found

    monkeypatch.setattr(summaries, "collect_notes", and_another_comes)
    found = separate(tmp_path / "two", monkeypatch)
    assert tuple(map(content, found)) == whole
    for uri in found:
        stage = open_stage(uri)
        assert len(stage.store.list(stage.prefix)) == len(stage.files()) + 1, "files and marker"


def test_a_listing_that_is_behind_loses_no_chunk(tmp_path, monkeypatch, whole):
    listed = LocalStore.list

    def behind(self, prefix):
        return [entry for entry in listed(self, prefix) if not entry.key.endswith("1.parquet")]

    monkeypatch.setattr(LocalStore, "list", behind)
    assert tuple(map(content, separate(tmp_path / "behind", monkeypatch))) == whole
