from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lidr.components.evaluate.run import evaluate
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.errors import BadInput, EngineFailed
from lidr.components.shared.core.events import EVENTS_VARIABLE, listening
from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.records.parquet import to_parquet
from lidr.components.shared.records.schema import (
    EvalItem,
    FinishReason,
    Overlap,
    Prompt,
)
from lidr.components.shared.stats.intervals import macro_average, wilson
from lidr.components.shared.store.stage import open_stage
from tests.fakes import Answer, FakeEngine, finished_stage, make_recipe, says
from tests.unit.evaluate.tasks import LANGUAGES, item_lines, write_tasks

ITEMS = [(f"How many are {number} + 2?", str(number + 2)) for number in range(4)]

SENTENCES = {
    "en": "The answer to this question is {}.",
    "es": "La respuesta a esta pregunta es {}.",
    "de": "Die Antwort auf diese Frage ist {}.",
}


def start(monkeypatch, answer: Answer) -> tuple[FakeEngine, list[Path]]:
    """Let evaluate start an engine that answers so; return it and the folders it is started on."""
    engine, started = FakeEngine(answer), []
    monkeypatch.setattr(
        "lidr.components.evaluate.run.open_engine",
        lambda _, stage: started.append(model_files(stage).folder) or engine,
    )
    return engine, started


def world_at(folder, items=ITEMS) -> str:
    files = {f"evaluation/{code}.jsonl": item_lines(items) for code in LANGUAGES}
    return finished_stage(str(folder), "prepare", files | {"model/config.json": b"{}"}).uri


def world_with_prompts(folder, *texts: str) -> str:
    rows = [Prompt(str(n), "es", text) for n, text in enumerate(texts)]
    files = {f"evaluation/{code}.jsonl": item_lines(ITEMS) for code in LANGUAGES}
    files |= {"model/config.json": b"{}", "prompts/es.parquet": to_parquet(rows, Prompt)}
    return finished_stage(str(folder), "prepare", files, of=repr(texts)).uri


def model_at(folder, name: str) -> str:
    return finished_stage(str(folder), "train", {"model/config.json": b"{}"}, pairs=name).uri


def run(world: str, on: str = "", iteration: int = 0, **sections: object) -> str:
    return evaluate(
        recipe=make_recipe(**sections).model_dump_json(),
        store=world.rpartition("/stages/")[0],
        inputs=world,
        model=on or world,
        iteration=iteration,
    )


def items_of(uri: str, code: str = "") -> list[EvalItem]:
    items = open_stage(uri).read_records(["items.parquet"], EvalItem)
    return [item for item in items if code in ("", item.language)]


def language(request: ChatRequest) -> str:
    return request.key.partition("/")[0].rpartition("_")[2]


def number(request: ChatRequest) -> int:
    return int(request.messages[-1]["content"].split()[3])


def in_its_language(right: Callable[[ChatRequest], bool] = lambda _: True) -> Answer:
    """Answer in the language asked, with the right number or none at all."""

    def answer(request: ChatRequest) -> Completion:
        result = str(number(request) + 2) if right(request) else "?"
        return says(SENTENCES[language(request)].format(result))(request)

    return answer


def test_every_item_is_kept(tmp_path, monkeypatch):
    start(monkeypatch, in_its_language(lambda request: number(request) > 0))
    assert items_of(run(world_at(tmp_path))) == [
        EvalItem(
            task=f"tiny_world_{code}",
            language=code,
            item_id=f"e{n}",
            prompt=ITEMS[n][0],
            response=SENTENCES[code].format(n + 2 if n else "?"),
            target=ITEMS[n][1],
            score=float(n > 0),
            detected_language=code,
            finish_reason="stop",
            output_tokens=5,
        )
        for code in LANGUAGES
        for n in range(4)
    ]


def test_accuracies_have_wilson_intervals_and_the_average_is_the_others(tmp_path, monkeypatch):
    right = {"en": 4, "es": 1, "de": 3}
    start(monkeypatch, in_its_language(lambda r: number(r) < right[language(r)]))
    counts = open_stage(run(world_at(tmp_path))).counts()
    assert list(counts["languages"]) == sorted(LANGUAGES)
    accuracies = {code: counts["languages"][code]["accuracy"] for code in LANGUAGES}
    assert accuracies == {code: wilson(right[code], 4) for code in LANGUAGES}
    assert counts["average"] == macro_average([accuracies["es"], accuracies["de"]])
    assert counts["average"]["value"] == 0.5
    assert (counts["engine"], counts["engine_reason"]) == (
        "transformers",
        "the run's recipe names it",
    )


def test_off_target_answers_are_those_in_another_language(tmp_path, monkeypatch):
    texts = {0: SENTENCES["en"], 1: SENTENCES["es"], 2: "{}", 3: ""}

    def answer(request: ChatRequest) -> Completion:
        return says(texts[number(request)].format(number(request) + 2))(request)

    start(monkeypatch, answer)
    uri = run(world_at(tmp_path))
    assert [item.detected_language for item in items_of(uri, "es")] == ["en", "es", "und", "und"]
    languages = open_stage(uri).counts()["languages"]
    assert languages["en"]["off_target"] == languages["es"]["off_target"] == wilson(1, 4)
    assert languages["de"]["off_target"] == wilson(2, 4)


def test_truncated_answers_and_lengths_are_counted(tmp_path, monkeypatch):
    def answer(request: ChatRequest) -> Completion:
        cut = number(request) == 0 and language(request) != "en"
        reason = FinishReason.LENGTH if cut else FinishReason.STOP
        return says("...", reason, tokens=10 * number(request))(request)

    start(monkeypatch, answer)
    uri = run(world_at(tmp_path))
    languages = open_stage(uri).counts()["languages"]
    assert {code: found["truncated"] for code, found in languages.items()} == {
        "en": wilson(0, 4),
        "es": wilson(1, 4),
        "de": wilson(1, 4),
    }
    assert {found["mean_tokens"] for found in languages.values()} == {15}
    assert [item.finish_reason for item in items_of(uri, "es")] == ["length", *["stop"] * 3]


def test_cut_answers_that_would_change_the_intervals_are_warned_of(tmp_path, monkeypatch):
    def answer(request: ChatRequest) -> Completion:
        cut = number(request) < (2 if language(request) == "es" else 1)
        right = language(request) == "de" or not cut
        reason = FinishReason.LENGTH if cut else FinishReason.STOP
        return says(str(number(request) + 2) if right else "?", reason)(request)

    start(monkeypatch, answer)
    heard: list[dict] = []
    with listening(heard.append):
        counts = open_stage(run(world_at(tmp_path))).counts()
    spanish = counts["languages"]["es"]
    assert (spanish["accuracy"], spanish["if_cut_right"]) == (wilson(2, 4), wilson(4, 4))
    [warning] = [e["message"] for e in heard if e["event"] == "warning" and "cut" in e["message"]]
    assert "es 50.0 [15.0, 85.0] would be 100.0 [51.0, 100.0] (50.0% cut)" in warning
    assert "en 75.0 [" in warning and "de" not in warning.split("; ")[-1], "de's cut one is right"
    shares = {e["language"]: e["truncated"] for e in heard if e["event"] == "accuracy"}
    assert shares == {"en": 0.25, "es": 0.5, "de": 0.25}


@pytest.mark.parametrize(("iteration", "said"), [(0, True), (1, False)])
def test_the_start_is_said_to_break_the_premise_at_once(tmp_path, monkeypatch, iteration, said):
    right = {"en": 1, "es": 4, "de": 1}
    start(monkeypatch, in_its_language(lambda r: number(r) < right[language(r)]))
    heard: list[dict] = []
    with listening(heard.append):
        counts = open_stage(run(world_at(tmp_path), iteration=iteration)).counts()
    assert not counts["premise"]["holds"]
    warnings = [event["message"] for event in heard if event["event"] == "warning"]
    assert any("English is not the strongest language" in each for each in warnings) == said


def test_evaluate_counts_its_tokens_a_second(tmp_path, monkeypatch):
    start(monkeypatch, in_its_language())
    counts = open_stage(run(world_at(tmp_path))).counts()
    assert counts["items"] == 12
    assert counts["tokens_per_second"] > 0


def test_items_that_stand_among_the_training_prompts_are_listed_and_scored_apart(
    tmp_path, monkeypatch
):
    start(monkeypatch, in_its_language(lambda request: number(request) == 1))
    uri = run(world_with_prompts(tmp_path, "How old is Tom?", "how many are 1 + 2"))
    overlaps = open_stage(uri).read_records(["overlaps.parquet"], Overlap)
    assert overlaps == [
        Overlap("tiny_world_es", "es", "e1", size, "how many are 1 2", 1, ["1"]) for size in (13, 8)
    ]
    found = open_stage(uri).counts()["contamination"]["13"]
    assert found["languages"]["es"] == {
        "unit": "words",
        "prompts": 2,
        "items": 4,
        "overlapping": 1,
        "with": wilson(1, 4),
        "without": wilson(0, 3),
    }
    assert found["languages"]["de"]["without"] == wilson(1, 4)
    assert found["average"]["without"] == macro_average([wilson(0, 3), wilson(1, 4)])


def test_the_prompts_are_part_of_the_question_and_the_rest_of_the_world_is_not(
    tmp_path, monkeypatch
):
    start(monkeypatch, says("1"))
    tasks = own_task(write_tasks(tmp_path / "tasks"))
    files = {"prompts": {"files": {code: f"{code}.jsonl" for code in LANGUAGES}}}
    imported = (
        tasks
        | files
        | {"model": {"source": "hf://org/name@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}
    )
    model = model_at(tmp_path / "store", "first")
    worlds = [world_with_prompts(tmp_path / "store", text) for text in ("a", "b")]
    same = finished_stage(
        str(tmp_path / "store"),
        "prepare",
        {"prompts/es.parquet": to_parquet([Prompt("0", "es", "a")], Prompt)},
    ).uri
    first, other, again = (run(world, on=model, **imported) for world in (*worlds, same))
    assert first != other
    assert first == again


def test_hostile_answers_are_kept(tmp_path, monkeypatch):
    texts = ["<script>alert(1)</script>", "\ud800 and \0", "", " \n"]
    start(monkeypatch, lambda request: says(texts[number(request)])(request))
    uri = run(world_at(tmp_path))
    kept = [item.response for item in items_of(uri, "de")]
    assert kept == [texts[0], "\ufffd and \0", "", " \n"]
    assert open_stage(uri).counts()["languages"]["de"]["accuracy"] == wilson(0, 4)


def test_the_model_is_started_once_and_closed(tmp_path, monkeypatch):
    engine, started = start(monkeypatch, in_its_language())
    model = model_at(tmp_path, "first")
    run(world_at(tmp_path), on=model)
    assert started == [Path(model, "model")]
    assert engine.closed


def test_a_failed_engine_is_closed_and_leaves_the_stage_open(tmp_path, monkeypatch):
    def fails(_: ChatRequest) -> Completion:
        raise EngineFailed("out of memory")

    engine, _ = start(monkeypatch, fails)
    world = world_at(tmp_path)
    with pytest.raises(EngineFailed):
        run(world)
    assert engine.closed
    _, started = start(monkeypatch, in_its_language())
    run(world)
    assert len(started) == 1


def test_an_evaluated_model_is_not_evaluated_again_in_any_iteration(tmp_path, monkeypatch):
    start(monkeypatch, in_its_language())
    world = world_at(tmp_path)
    first = run(world)
    _, started = start(monkeypatch, in_its_language())
    unrelated = {"gate": {"tolerance": 0.5}, "training": {"beta": 0.2}, "name": "other"}
    assert run(world, iteration=3, **unrelated) == first
    assert started == []


def test_a_start_named_through_the_registry_is_not_evaluated_twice(tmp_path, monkeypatch):
    _, started = start(monkeypatch, in_its_language())
    world = world_at(tmp_path)
    trained = model_at(tmp_path, "first")
    described = json.dumps({"source": f"{trained}/model", "digest": "d" * 64}).encode()
    again = finished_stage(str(tmp_path), "prepare", {"model.json": described}, of="again").uri
    assert run(world, on=trained, iteration=2) == run(world, on=again)
    assert len(started) == 1


def test_another_question_is_another_stage(tmp_path, monkeypatch):
    start(monkeypatch, in_its_language())
    world = world_at(tmp_path)
    task = "tiny_world_{language}"
    variants: list[dict[str, object]] = [
        {},
        {"evaluation": {"tasks": [task], "limit": 2}},
        {"evaluation": {"tasks": [task], "limit": 3}},
        {"evaluation": {"tasks": [task], "max_tokens": 9}},
        {"languages": {"dominant": "en", "others": ["es"]}},
        {"model": {"source": "toy", "dtype": "float32"}},
        {"seed": 1},
    ]
    uris = [run(world, **variant) for variant in variants]
    uris.append(run(world, on=model_at(tmp_path, "first")))
    uris.append(run(world, on=model_at(tmp_path, "second")))
    assert len(set(uris)) == len(uris)
    assert [len(items_of(uri)) for uri in uris[:3]] == [12, 6, 9]


def own_task(folder: Path) -> dict[str, object]:
    return {"evaluation": {"tasks": ["mine_{language}"], "include_path": str(folder)}}


def test_a_users_own_tasks_are_run(tmp_path, monkeypatch):
    start(monkeypatch, says("1"))
    uri = run(world_at(tmp_path / "store"), **own_task(write_tasks(tmp_path / "tasks")))
    assert [(i.task, i.item_id, i.prompt, i.target, i.score) for i in items_of(uri, "es")] == [
        ("mine_es", f"es:{n}", f"What is {n}?", str(n), float(n == 1)) for n in range(3)
    ]


def test_the_stage_depends_on_what_is_in_the_users_folder_not_on_where_it_is(tmp_path, monkeypatch):
    start(monkeypatch, says("1"))
    world = world_at(tmp_path / "store")
    tasks = write_tasks(tmp_path / "tasks")
    first = digest_of_uri(run(world, **own_task(tasks)))
    moved = Path(shutil.copytree(tasks, tmp_path / "moved"))
    assert digest_of_uri(run(world, **own_task(moved))) == first
    seen = {first}
    for name in ("mine_es.yaml", "loader.py", "_template", "data/items.jsonl", "tiny_world.py"):
        path = moved / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text() if path.exists() else "") + "\n")
        seen.add(digest_of_uri(run(world, **own_task(moved))))
    assert len(seen) == 6


def test_an_imported_model_needs_no_world_items(tmp_path, monkeypatch):
    start(monkeypatch, says("1"))
    model = model_at(tmp_path / "store", "first")
    files = {code: f"{code}.jsonl" for code in LANGUAGES}
    sections = own_task(write_tasks(tmp_path / "tasks")) | {
        "model": {"source": "hf://org/name@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
        "prompts": {"files": files},
    }
    assert len(items_of(run(model, **sections))) == 9


def test_a_task_that_cannot_be_run_starts_no_engine_and_leaves_no_stage(tmp_path, monkeypatch):
    _, started = start(monkeypatch, says("1"))
    tasks = write_tasks(tmp_path / "tasks", "", "loglikelihood_rolling")
    with pytest.raises(BadInput, match="whole texts"):
        run(world_at(tmp_path / "store"), **own_task(tasks))
    assert not started
    assert not list(tmp_path.glob("store/stages/evaluate/*/_SUCCESS"))


def test_accuracies_are_announced_also_when_they_were_known(tmp_path, monkeypatch):
    start(monkeypatch, in_its_language())
    world = world_at(tmp_path)
    run(world)
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events.jsonl"))
    run(world, iteration=2)
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    found = [event for event in map(json.loads, lines) if event["event"] == "accuracy"]
    assert {event["language"] for event in found} == set(LANGUAGES)
    for event in found:
        assert {key: event[key] for key in ("value", "low", "high", "n")} == wilson(4, 4)
        assert (event["iteration"], event["off_target"]) == (2, 0)


def test_scores_are_logged_for_kubeflow_s_page_also_when_they_were_there(tmp_path, monkeypatch):
    start(monkeypatch, in_its_language(lambda request: number(request) > 0))
    world, found = world_at(tmp_path), []
    for _ in range(2):
        logged: dict[str, float] = {}
        evaluate(
            recipe=make_recipe().model_dump_json(),
            store=world.rpartition("/stages/")[0],
            inputs=world,
            model=world,
            iteration=0,
            log=logged.__setitem__,
        )
        found.append(logged)
    assert found[0] == found[1]
    assert found[0]["accuracy/average"] == found[0]["accuracy/es"] == 0.75
    assert found[0]["off_target/de"] == found[0]["truncated/es"] == 0.0
    kinds = ("accuracy", "off_target", "truncated")
    assert set(found[0]) == {"accuracy/average"} | {
        f"{kind}/{code}" for kind in kinds for code in LANGUAGES
    }
