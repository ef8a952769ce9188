from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lidr.components.evaluate.harness import Scored, run_tasks
from lidr.components.evaluate.items.local_data import data_digests, load
from lidr.components.evaluate.items.problems import problems
from lidr.components.evaluate.items.published import SOURCES
from lidr.components.evaluate.items.rows import read_rows
from lidr.components.evaluate.limits import TASKS, published_items
from lidr.components.shared.config.recipe import load_recipe
from lidr.components.shared.config.source import Source
from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.events import listening
from lidr.components.shared.core.retry import RETRY_VARIABLE
from lidr.components.shared.engines import ChatRequest
from lidr.components.shared.inputs.fetched import source_stage
from lidr.components.shared.store.open import open_store
from tests.fakes import FakeEngine, make_recipe, says
from tests.unit.evaluate.shared_data import MGSM, needs_mgsm

ITEMS = [{"query": f"How many are {n} and 1?", "response": str(n + 1)} for n in range(3)]


def lines(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(path: Path, rows=ITEMS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text(lines(rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif path.suffix == ".tsv":
        text = "".join(f"{row['query']}\t{row['response']}\n" for row in rows)
        path.write_text(text, encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def run(task: str, data: dict[str, str], text: str = "2", **settings: object) -> list[Scored]:
    languages = {task: ["es"]}
    recipe = make_recipe(
        evaluation={"tasks": [task], "languages": languages, "data": data} | settings
    )
    engine = FakeEngine(says(text))
    return run_tasks(engine, recipe, [TASKS], Path())


@pytest.mark.parametrize(
    ("place", "given"),
    [
        ("es.jsonl", "{language}.jsonl"),
        ("es.jsonl", ""),
        ("spanish/test.json", "{language_name}"),
        ("test.tsv", ""),
        ("es/test.parquet", "{language}"),
        ("es/test-00000-of-00001.parquet", "{language}"),
    ],
)
@pytest.mark.parametrize("key", ["mgsm", "juletxara/mgsm"])
def test_our_tasks_read_files_of_any_kind(tmp_path, place, given, key):
    write(tmp_path / place)
    scored = run("mgsm_paper_{language}", {key: str(tmp_path / given)}, "Son 2 en total.")
    assert [(s.item_id, s.prompt, s.target, s.score) for s in scored] == [
        (str(n), ITEMS[n]["query"], str(n + 1), float(n == 1)) for n in range(3)
    ]


def test_our_tasks_read_every_shard_of_a_folder(tmp_path):
    for n, item in enumerate(ITEMS):
        write(tmp_path / f"test-0000{n}-of-00003.parquet", [item])
    rows = problems("mgsm", "es", {"mgsm": str(tmp_path)})
    assert [(row["item_id"], row["answer"]) for row in rows] == [("0", "1"), ("1", "2"), ("2", "3")]


def test_a_language_s_own_file_goes_before_the_split_s(tmp_path):
    write(tmp_path / "test.jsonl", [{"question": "How many?", "answer": "7"}])
    write(tmp_path / "es.jsonl", [{"question": "¿Cuántos?", "answer": "8"}])
    (row,) = problems("mgsm", "es", {"mgsm": str(tmp_path)})
    assert row["answer"] == "8"
    with pytest.raises(BadInput, match=r"has a file for es, and none for de.*Add de\.jsonl"):
        problems("mgsm", "de", {"mgsm": str(tmp_path)})


@pytest.mark.parametrize("task", ["mgsm_paper_{language}", "mgsm_direct_{language}"])
@pytest.mark.parametrize("given", ["", "test.jsonl"])
def test_one_file_is_not_the_items_of_several_languages(tmp_path, task, given):
    write(tmp_path / "test.jsonl")
    data = {"juletxara/mgsm": str(tmp_path / given)}
    settings = {"tasks": [task], "languages": {task: ["es", "de"]}, "data": data}
    with pytest.raises(BadInput, match="would hold the items of both es and de") as refused:
        run_tasks(FakeEngine(says("2")), make_recipe(evaluation=settings), [TASKS], Path())
    assert refused.value.file == str(tmp_path / "test.jsonl")


@pytest.mark.parametrize("key", ["mgsm", "juletxara/mgsm"])
def test_our_tasks_have_no_configuration_that_could_tell_languages_apart(tmp_path, key):
    write(tmp_path / "items-.jsonl")
    data = {key: str(tmp_path / "items-{config}.jsonl")}
    task = "mgsm_paper_{language}"
    settings = {"tasks": [task], "languages": {task: ["es", "de"]}, "data": data}
    with pytest.raises(BadInput, match=r"stands for nothing.*Write \{language\}"):
        run_tasks(FakeEngine(says("2")), make_recipe(evaluation=settings), [TASKS], Path())


@pytest.mark.parametrize(("set_to", "used"), [(0, 2048), (100, 100)])
def test_the_paper_s_form_is_the_question_alone_and_its_decoding(tmp_path, set_to, used):
    write(tmp_path / "es.jsonl")
    seen: list[ChatRequest] = []
    recipe = make_recipe(
        evaluation={
            "tasks": ["mgsm_paper_{language}"],
            "languages": {"mgsm_paper_{language}": ["es"]},
            "data": {"mgsm": str(tmp_path)},
            "max_tokens": set_to,
        }
    )
    engine = FakeEngine(lambda request: seen.append(request) or says("1")(request))
    run_tasks(engine, recipe, [TASKS], Path())
    assert [m["role"] for m in seen[0].messages] == ["system", "user"]
    assert seen[-1].messages[1]["content"] == ITEMS[0]["query"]
    assert {(r.decoding.repetition_penalty, r.decoding.max_tokens) for r in seen} == {(1.1, used)}


@pytest.mark.slow
def test_boxed_tasks_ask_in_their_language_and_are_verified(tmp_path):
    rows = [{"question": "¿Cuánto es 1/4 + 1/4?", "answer": "\\frac{1}{2}"}]
    write(tmp_path / "es.json", rows)
    (scored,) = run("mmath_{language}", {"mmath": str(tmp_path)}, "Así es: $\\boxed{0.5}$")
    assert scored.score == 1
    assert scored.prompt.startswith("¿Cuánto es 1/4 + 1/4?\n\nResuelve")
    assert scored.prompt.endswith("\\boxed{}.")


def test_tasks_of_the_harness_read_local_files(tmp_path):
    write(tmp_path / "mgsm" / "es.jsonl")
    data = {"juletxara/mgsm": str(tmp_path / "mgsm/{language}.jsonl")}
    scored = run("mgsm_direct_{language}", data, "Son 3 manzanas")
    assert [(s.task, s.score) for s in scored] == [
        ("mgsm_direct_es", float(n == 2)) for n in range(3)
    ]
    assert scored[0].prompt == f"Pregunta: {ITEMS[0]['query']}\nRespuesta:"


@pytest.mark.parametrize("task", ["mgsm_direct_{language}", "mgsm_paper_{language}"])
@pytest.mark.parametrize(
    ("dropped", "ids"),
    [
        (None, {"es": ["0", "1", "2"], "de": ["0", "1", "2"]}),
        (1, {"es": ["es:0", "es:1", "es:2"], "de": ["de:0", "de:1"]}),
    ],
    ids=["parallel", "a row is missing"],
)
def test_rows_of_mgsm_are_the_same_questions_if_no_language_lacks_some(
    tmp_path, task, dropped, ids
):
    write(tmp_path / "es.jsonl")
    write(tmp_path / "de.jsonl", [row for n, row in enumerate(ITEMS) if n != dropped])
    data = {"juletxara/mgsm": str(tmp_path / "{language}.jsonl")}
    settings = {"tasks": [task], "languages": {task: ["es", "de"]}, "data": data}
    scored = run_tasks(FakeEngine(says("2")), make_recipe(evaluation=settings), [TASKS], Path())
    assert {code: [each.item_id for each in scored if each.language == code] for code in ids} == ids


def test_a_local_file_of_our_own_tasks_may_name_its_items(tmp_path):
    named = [{"id": f"gsm-{n}", **row} for n, row in enumerate(ITEMS)]
    given = str(write(tmp_path / "es.jsonl", named[::2]))
    assert [s.item_id for s in run("mgsm_paper_{language}", {"mgsm": given})] == ["gsm-0", "gsm-2"]


def test_so_do_groups_by_their_data_sets_configurations(tmp_path):
    row = {
        "question": "¿Cuál?",
        **{f"option_{letter}": letter for letter in "abcd"},
        "answer": "B",
    }
    subjects = ["Business", "Humanities", "Medical", "Other", "STEM", "Social Sciences"]
    write(tmp_path / "es" / "test.jsonl", [row | {"subject_category": s} for s in subjects])
    data = {"CohereForAI/Global-MMLU-Lite": str(tmp_path / "{config}")}
    scored = run("global_mmlu_{language}", data, "B")
    assert len({s.task for s in scored}) == len(scored) == 6
    assert {s.score for s in scored} == {1.0}


def test_groups_may_be_written_inside_groups(tmp_path):
    inner = ("one", "two")
    for name in inner:
        (tmp_path / f"{name}.yaml").write_text(HUB_TASK.replace("hub_es", name))
    (tmp_path / "group.yaml").write_text(
        "group: mine_es\ntask:\n- group: part\n  task:\n  - one\n  - two\n"
    )
    data = {"owner/sums": str(write(tmp_path / "es.jsonl", [{"question": "1?", "answer": "2"}]))}
    recipe = make_recipe(
        evaluation={"tasks": ["mine_es"], "languages": {"mine_es": ["es"]}, "data": data}
    )
    scored = run_tasks(FakeEngine(says("2")), recipe, [TASKS, tmp_path], Path())
    assert {each.task for each in scored} == set(inner)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"question": "1?", "answer": str(10**20)}], "changes its type|too large|int"),
        ([{"question": "1?", "answer": 1.5}], "answer that is a whole number"),
    ],
)
def test_answers_that_no_column_takes_are_refused(tmp_path, rows, words):
    path = write(tmp_path / "es.jsonl", rows)
    with pytest.raises(BadInput, match=words):
        by_the_harness(path)


def test_zero_is_an_answer(tmp_path):
    path = write(tmp_path / "es.jsonl", [{"question": "1 - 1?", "answer": 0}])
    (row,) = load(local={"dataset": "juletxara/mgsm", "files": {"test": [str(path)]}})["test"]
    assert row["answer_number"] == 0


def test_a_field_nested_too_deeply_for_a_table_is_refused(tmp_path):
    path = tmp_path / "es.jsonl"
    path.write_text(f'{{"question": {NESTED[:300]}{NESTED[-300:]}}}')
    with pytest.raises(BadInput, match="nested too deeply"):
        load(local={"dataset": "owner/sums", "files": {"test": [str(path)]}})


def test_an_item_that_lacks_another_one_s_field_is_named(tmp_path):
    path = write(tmp_path / "es.jsonl", [{"question": "1?", "a": "x"}, {"question": "2?"}])
    with pytest.raises(BadInput, match=r"es.jsonl:2: .* only one has the field 'a'"):
        load(local={"dataset": "owner/sums", "files": {"test": [str(path)]}})


@needs_mgsm
def test_the_real_mgsm_is_read_in_seven_languages():
    for code in ("de", "en", "es", "fr", "ja", "ru", "zh"):
        rows = problems("mgsm", code, {"mgsm": str(MGSM)})
        assert len(rows) == 250
        assert rows[0]["answer"] == "18"


NESTED = "[" * 600 + "]" * 600

BROKEN = [
    ("es.jsonl", lines(ITEMS) + "{oops\n", 4, "not valid JSON"),
    ("es.jsonl", lines(ITEMS) + "\n[1]\n", 5, "not a JSON object"),
    ("es.jsonl", lines([*ITEMS, {"query": "Why?"}]), 4, "no answer"),
    ("es.jsonl", lines([*ITEMS, {"query": "Why?", "response": " "}]), 4, "no answer"),
    ("es.jsonl", lines([*ITEMS, {"query": "Why?", "response": "many"}]), 4, "no"),
    ("es.jsonl", lines([{"response": "3"}, *ITEMS]), 1, "no question"),
    ("es.jsonl", "", 0, "no items"),
    ("es.jsonl", f'{{"query": {NESTED}}}', 0, "nested too deeply"),
    ("es.json", "[1", 1, "not valid JSON"),
    ("es.json", json.dumps([ITEMS[0], {"query": "Why?"}], indent=1), 6, "no answer"),
    ("es.json", f"[{'1' * 5000}]", 0, "not valid JSON"),
    ("es.tsv", "How many?\t3\nWhy?\n", 2, "1 column instead"),
    ("es.parquet", "PAR0", 0, "not a readable Parquet file"),
]


def by_our_task(path: Path) -> None:
    problems("mgsm", "es", {"mgsm": str(path)})


def by_the_harness(path: Path) -> None:
    load(local={"dataset": "juletxara/mgsm", "files": {"test": [str(path)]}})


@pytest.mark.parametrize("read", [by_our_task, by_the_harness])
@pytest.mark.parametrize(("name", "text", "line", "words"), BROKEN)
def test_broken_items_are_refused_with_file_and_line(tmp_path, read, name, text, line, words):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadInput, match=words) as caught:
        read(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["nowhere", "empty", "latin.jsonl", "items.txt"])
def test_a_place_without_items_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "latin.jsonl").write_bytes(b'{"query": "\xe9"}')
    (tmp_path / "items.txt").write_text("1")
    with pytest.raises(BadInput) as caught:
        by_our_task(tmp_path / name)
    assert caught.value.file == str(tmp_path / name)


def test_a_field_that_the_prompt_needs_is_missed(tmp_path):
    write(tmp_path / "es.jsonl", [{"premise": "a"}])
    with pytest.raises(BadInput, match=r"an item lacks: 'instruction' is undefined"):
        run("m_mmlu_{language}", {"alexandrainst/m_mmlu": str(tmp_path / "es.jsonl")})


def test_examples_that_are_not_there_are_missed(tmp_path):
    write(tmp_path / "test.jsonl")
    with pytest.raises(BadInput, match=r"shows examples from its validation split") as caught:
        run("mmlu_prox_lite_{language}", {"li-lab/MMLU-ProX-Lite": str(tmp_path)})
    assert caught.value.file == str(tmp_path)


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(monkeypatch) -> list[dict]:
    """Every data set asked of the hub, which has one item."""
    asked: list[dict] = []

    def load_dataset(**arguments):
        asked.append(arguments)
        return {"test": datasets.Dataset.from_list([{"question": "1 + 1?", "answer": "2"}])}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


HUB_TASK = """
task: hub_es
dataset_path: owner/sums
dataset_name: es
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
"""


@pytest.fixture
def ask_the_hub(tmp_path):
    """Run a task whose items are on the hub and return the warnings."""
    (tmp_path / "hub.yaml").write_text(HUB_TASK)

    def ask(**settings: object) -> list[str]:
        events: list[dict] = []
        recipe = make_recipe(
            evaluation={"tasks": ["hub_es"], "languages": {"hub_es": ["es"]}} | settings
        )
        with listening(events.append):
            run_tasks(FakeEngine(says("2")), recipe, [TASKS, tmp_path], Path())
        return [event["message"] for event in events if event["event"] == "warning"]

    return ask


def test_a_data_set_on_the_hub_is_pinned(hub, ask_the_hub):
    assert ask_the_hub(revisions={"owner/sums": COMMIT}) == []
    assert [(each["path"], each["name"], each["revision"]) for each in hub] == [
        ("owner/sums", "es", COMMIT)
    ]


@pytest.mark.parametrize("suffix", ["", "#licence=MIT"])
def test_a_data_set_that_was_fetched_is_loaded_whole(hub, ask_the_hub, tmp_path, suffix):
    pins = {"dataset": "owner/sums", "revision": COMMIT, "file": ""}
    stage = source_stage(open_store(str(tmp_path / "store")), pins)
    stage.write("es/test.jsonl", b"{}")
    stage.finish({})
    assert ask_the_hub(data={"owner/sums": stage.uri + suffix}) == []
    assert [(each["path"], each["name"]) for each in hub] == [(stage.uri, "es")]


def test_one_file_per_language_of_a_data_set_that_was_fetched_is_read_as_files(
    hub, ask_the_hub, tmp_path
):
    pins = {"dataset": "owner/sums", "revision": COMMIT, "file": "{language}.jsonl"}
    stage = source_stage(open_store(str(tmp_path / "store")), pins | {"languages": ["es"]})
    stage.write("es.jsonl", lines([{"question": "1 + 1?", "answer": "2"}]).encode())
    stage.finish({})
    assert ask_the_hub(data={"owner/sums": f"{stage.uri}/{{language}}.jsonl"}) == []
    assert hub == []


def test_the_newest_revision_is_warned_of(hub, ask_the_hub):
    (warning,) = ask_the_hub()
    assert "the items of owner/sums are its newest revision" in warning
    assert "revision" not in hub[0]


def test_a_hub_out_of_reach_is_bad_input_before_the_engine_starts(monkeypatch, ask_the_hub):
    def load_dataset(**_):
        raise ConnectionError("Couldn't reach 'owner/sums' on the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(BadInput, match=r"Couldn't reach 'owner/sums' on the Hub\. Check the"):
        ask_the_hub()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"revisions": {"owner/sums": "main"}}, "String should match pattern"),
        ({"revisions": {"a/b": COMMIT}, "data": {"a/b": "x"}}, "under data and under revisions"),
    ],
)
def test_a_revision_is_a_commit_of_what_is_downloaded(settings, words):
    with pytest.raises(ValueError, match=words):
        make_recipe(evaluation={"tasks": ["hub_{language}"]} | settings)


def test_a_revision_that_no_task_reads_is_refused(ask_the_hub):
    with pytest.raises(BadInput, match=r"evaluation.revisions: no task .* reads 'owner/smus'"):
        ask_the_hub(revisions={"owner/smus": COMMIT})


def test_a_revision_of_what_we_pin_ourselves_is_refused(tmp_path):
    write(tmp_path / "es.jsonl")
    recipe = make_recipe(
        evaluation={
            "tasks": ["mmath_{language}"],
            "languages": {"mmath_{language}": ["es"]},
            "revisions": {"RUCAIBox/MMATH": COMMIT},
        }
    )
    with pytest.raises(BadInput, match=r"evaluation.revisions: no task .* reads 'RUCAIBox/MMATH'"):
        run_tasks(FakeEngine(says("2")), recipe, [TASKS], Path())


def test_the_first_line_of_a_tsv_file_may_name_the_columns(tmp_path):
    path = tmp_path / "es.tsv"
    path.write_text("question\tanswer\r\n¿1 + 1?\t2\r\n" + "x" * 200_000 + "\t3\r\n")
    rows = problems("mgsm", "es", {"mgsm": str(path)})
    assert [row["answer"] for row in rows] == ["2", "3"]


@pytest.mark.parametrize(
    "header", ["Question\tAnswer", "question\tanswer_number", "problem\tanswer"]
)
def test_a_header_of_a_tsv_file_has_any_names_of_question_and_answer(tmp_path, header):
    path = tmp_path / "es.tsv"
    path.write_text(f"{header}\n  \n1 + 1?\t2\n \t \nanswer\tquestion\n")
    assert [line for line, _ in read_rows(path)] == [3, 5]


@pytest.mark.parametrize("fault", [errno.EACCES, errno.EIO])
def test_a_parquet_file_that_the_system_cannot_read_is_not_called_broken(
    tmp_path, monkeypatch, fault
):
    def fails(_: object) -> None:
        raise OSError(fault, os.strerror(fault))

    path = write(tmp_path / "es.parquet")
    monkeypatch.setattr(pq, "read_table", fails)
    with pytest.raises(BadInput, match=f"cannot be read: {os.strerror(fault)}.*permissions"):
        read_rows(path)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".tsv"])
def test_a_folder_named_like_a_file_of_items_is_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.mkdir()
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        read_rows(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task: mine_es\noutputtype: generate_until\n", "Correct the task's file"),
        ("task: mine_es\n  dataset_path: a\n", r"mine.yaml:2: not YAML"),
        ("include: none.yaml\ntask: mine_es\n", r"mine.yaml: includes 'none.yaml'"),
    ],
)
def test_a_broken_task_of_the_user_is_bad_input(tmp_path, text, words):
    (tmp_path / "mine.yaml").write_text(text)
    recipe = make_recipe(
        evaluation={
            "tasks": ["mine_es"],
            "languages": {"mine_es": ["es"]},
            "include_path": str(tmp_path),
        }
    )
    with pytest.raises(BadInput, match=words):
        run_tasks(FakeEngine(says("2")), recipe, [TASKS, tmp_path], Path())


def test_a_broken_file_does_not_leave_the_stock_task_of_its_name(tmp_path):
    """The harness skips the file and would score its own task."""
    (tmp_path / "mine.yaml").write_text("task: mgsm_paper_es\ntest_split: [test\n")
    recipe = make_recipe(
        evaluation={"tasks": ["mgsm_paper_{language}"], "include_path": str(tmp_path)}
    )
    with pytest.raises(BadInput, match=r"mine.yaml:3: not YAML"):
        run_tasks(FakeEngine(says("2")), recipe, [TASKS, tmp_path], Path())


def test_a_broken_template_of_the_user_is_bad_input(tmp_path):
    data = tmp_path / "items.jsonl"
    data.write_text('{"question": "1 + 1?", "answer": "2"}\n')
    (tmp_path / "mine.yaml").write_text(
        "task: mine_es\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        "test_split: test\noutput_type: generate_until\n"
        'doc_to_text: "{{question}"\ndoc_to_target: "{{answer}}"\n'
    )
    evaluation = {"tasks": ["mine_es"], "languages": {"mine_es": ["es"]}}
    recipe = make_recipe(evaluation={**evaluation, "include_path": str(tmp_path)})
    with pytest.raises(BadInput, match="Correct the task's file"):
        run_tasks(FakeEngine(says("2")), recipe, [TASKS, tmp_path], Path())


def test_tasks_of_the_harness_that_are_called_like_ours_do_not_read_our_items():
    tasks = {"tasks": ["mgsm_direct_{language}"], "revisions": {"juletxara/mgsm": COMMIT}}
    read = [each.key[-1] for each in published_items(make_recipe(evaluation=tasks))]
    assert read == ["juletxara/mgsm"]
    ours = make_recipe(evaluation={"tasks": ["mgsm_paper_{language}"]})
    assert [each.key[-1] for each in published_items(ours)] == ["mgsm"]


def test_data_that_no_task_reads_is_refused(tmp_path):
    write(tmp_path / "es.jsonl")
    with pytest.raises(BadInput, match=r"no task of the recipe reads 'mgms' \(did you mean 'mgsm'"):
        run("mgsm_paper_{language}", {"mgms": str(tmp_path), "mgsm": str(tmp_path)})


def test_digests_follow_the_content_and_not_the_place(tmp_path):
    for folder in ("one", "two"):
        write(tmp_path / folder / "es.jsonl")
        write(tmp_path / folder / "de.jsonl", ITEMS[:1])
    one, two = (
        data_digests({"mgsm": str(tmp_path / folder / "{language}.jsonl")}, ["en", "es", "de"])
        for folder in ("one", "two")
    )
    assert one == two
    assert len(one["mgsm"]) == 2
    write(tmp_path / "two" / "de.jsonl", ITEMS[:2])
    assert data_digests({"mgsm": str(tmp_path / "two")}, ["es"]) != data_digests(
        {"mgsm": str(tmp_path / "one")}, ["es"]
    )
    bare, schemed = (
        data_digests({"mgsm": f"{scheme}{tmp_path / 'one'}"}, ["es"]) for scheme in ("", "file://")
    )
    assert bare == schemed
    with pytest.raises(BadInput, match="no such file"):
        data_digests({"mgsm": str(tmp_path / "three")}, ["es"])


def test_paths_start_at_the_recipe_s_folder(tmp_path):
    text = (
        "name: mine\nlanguages: {others: [es]}\nmodel: {source: toy}\n"
        "evaluation: {tasks: ['mgsm_paper_{language}'], data: {mgsm: 'items/{language}.jsonl'}}\n"
    )
    (tmp_path / "mine.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "mine.yaml")
    assert recipe.evaluation.data == {"mgsm": str(tmp_path / "items/{language}.jsonl")}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """The address of a web server over a folder."""
    (tmp_path / "web").mkdir()
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "web")
    ) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def published_at(monkeypatch, url: str, pin: str) -> None:
    source = replace(SOURCES["mgsm"], source=Source(url, {"es": pin}))
    monkeypatch.setitem(SOURCES, "mgsm", source)


def test_without_local_items_they_are_downloaded(tmp_path, server, monkeypatch):
    file = write(tmp_path / "web" / "mgsm_es.tsv")
    published_at(monkeypatch, server + "/mgsm_{language}.tsv", digest_of_file(file))
    scored = run("mgsm_steps_{language}", {}, "La respuesta es 2.")
    assert [s.score for s in scored] == [0, 1, 0]


def test_a_query_is_no_part_of_a_file_s_name(tmp_path, server, monkeypatch):
    file = write(tmp_path / "web" / "mgsm_es.jsonl")
    url = server + "/mgsm_{language}.jsonl?download=true"
    given = Source(url, {"": digest_of_file(file)}).text()
    assert [row["answer"] for row in problems("mgsm", "es", {"mgsm": given})] == ["1", "2", "3"]


def test_what_cannot_be_downloaded_names_the_way_out(server, monkeypatch):
    published_at(monkeypatch, server + "/gone_{language}.tsv", "0" * 64)
    with pytest.raises(BadInput, match=r"gone_es.tsv.*404.*evaluation.data: \{mgsm: ") as refused:
        run("mgsm_paper_{language}", {})
    assert refused.value.file == f"{server}/gone_es.tsv"
    assert refused.value.remedy.startswith("Correct the address. Or give a copy: evaluation.data")


def test_a_server_that_is_away_is_no_missing_file(monkeypatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0")
    published_at(monkeypatch, "http://127.0.0.1:9/mgsm_{language}.tsv", "0" * 64)
    with pytest.raises(Unavailable, match="does not answer") as away:
        problems("mgsm", "es", {})
    assert "HTTPS_PROXY" in away.value.remedy
