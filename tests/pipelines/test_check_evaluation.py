"""lidr check on the evaluation: tasks, what they read, and files that lack items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.shared.inputs.fetched import source_stage
from lidr.components.shared.store.open import open_store
from lidr.pipelines.checks.evaluation import evaluation_findings
from lidr.pipelines.checks.finding import CheckInputs, Finding
from lidr.pipelines.cli.inputs import read_profile
from tests.fakes import make_recipe
from tests.unit.evaluate.conftest import one_index  # noqa: F401

LANGUAGES = ("en", "es", "de")
HARNESS = "lidr.components.evaluate.index.task_manager"
COMMIT = "a" * 40


def found(profile: str = "local", **evaluation: object) -> list[Finding]:
    recipe = make_recipe(evaluation={"tasks": ["mgsm_paper_{language}"], **evaluation})
    return list(evaluation_findings(CheckInputs(recipe, read_profile(profile), 60)))


def items(folder: Path, **counts: int) -> str:
    """Write a file of so many items for each language; return the pattern of their names."""
    folder.mkdir(exist_ok=True)
    for code in LANGUAGES:
        rows = [{"question": f"{n}?", "answer": n} for n in range(counts.get(code, 3))]
        (folder / f"{code}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(folder / "{language}.jsonl")


def no_harness(monkeypatch) -> None:
    def ask(*_: object) -> None:
        raise AssertionError("ten seconds for nothing")

    monkeypatch.setattr(HARNESS, ask)


def test_tasks_and_data_that_are_known_need_no_harness(tmp_path: Path, monkeypatch):
    no_harness(monkeypatch)
    tasks = ["mgsm_paper_{language}", "global_mmlu_{language}", "hellaswag"]
    [task, data] = found(
        tasks=tasks,
        languages={"hellaswag": ["en"]},
        data={"mgsm": items(tmp_path)},
        revisions={"CohereForAI/Global-MMLU-Lite": "a" * 40},
    )
    assert (task.state, task.detail) == ("ok", ", ".join(tasks))
    assert (data.state, data.detail) == ("ok", "en 3, es 3, de 3")


def test_own_tasks_of_a_user_are_known_by_their_files(tmp_path: Path, monkeypatch):
    no_harness(monkeypatch)
    (tmp_path / "_base.yaml").write_text("dataset_path: own/data\noutput_type: generate_until\n")
    for code in LANGUAGES:
        (tmp_path / f"{code}.yaml").write_text(f"include: _base.yaml\ntask: own_{code}\n")
    (tmp_path / "data").mkdir()
    data = {"own/data": items(tmp_path / "data")}
    [task, _] = found(tasks=["own_{language}"], include_path=str(tmp_path), data=data)
    assert task.state == "ok"


def test_a_broken_file_of_the_user_is_named_though_the_task_is_known(tmp_path: Path, monkeypatch):
    no_harness(monkeypatch)
    (tmp_path / "mine.yaml").write_text("task: mgsm_paper_es\ntest_split: [test\n")
    [task] = found(include_path=str(tmp_path))
    assert task.state == "missing" and "mine.yaml:3: not YAML" in task.detail


@pytest.mark.slow
def test_a_task_that_does_not_exist_is_named_with_the_nearest_one():
    [task] = found(tasks=["mgsm_papr_{language}"])
    assert (task.state, task.name) == ("missing", "evaluation tasks")
    assert "the harness has no task 'mgsm_papr_en'" in task.detail
    assert "did you mean 'mgsm_paper_en'" in task.detail
    assert "lidr evaluate --list-tasks" in task.remedy


@pytest.mark.slow
def test_a_task_that_lacks_a_language_names_those_it_has():
    [task] = found(tasks=["xquad_{language}"], languages={})
    assert task.state == "ok"
    recipe = make_recipe(
        languages={"others": ["sw"]},
        model={"source": "/m"},
        prompts={"files": {"en": "/e.jsonl", "sw": "/s.jsonl"}},
        evaluation={"tasks": ["xquad_{language}"]},
    )
    [task] = evaluation_findings(CheckInputs(recipe, read_profile("local"), 60))
    assert task.state == "missing"
    assert "xquad_{language} has no Swahili" in task.detail
    assert "evaluation.languages" in task.remedy


@pytest.mark.slow
def test_a_key_that_no_task_reads_is_named(tmp_path: Path):
    [task, _] = found(data={"mmath": items(tmp_path)})
    assert task.state == "missing"
    assert task.detail == "evaluation.data: no task of the recipe reads 'mmath'"
    assert task.remedy == "Correct the name, or drop the entry."


def without_harness(monkeypatch) -> None:
    def absent(*_: object) -> None:
        raise ModuleNotFoundError(name="lm_eval")

    monkeypatch.setattr(HARNESS, absent)


def test_without_the_harness_what_is_not_known_is_unknown(monkeypatch):
    without_harness(monkeypatch)
    [task] = found(tasks=["mgsm_papr_{language}"])
    assert (task.state, task.remedy) == ("unknown", "pip install 'lidr[evaluate]'")
    assert task.detail == "mgsm_papr_en is not looked up: lm_eval is not installed here"


@pytest.mark.parametrize("task", ["mgsm_paper_{language}", "mgsm_direct_{language}"])
def test_a_revision_of_what_our_tasks_pin_is_not_looked_up_without_the_harness(monkeypatch, task):
    without_harness(monkeypatch)
    languages = {task: ["en", "es", "de"]}
    [found_task] = found(tasks=[task], languages=languages, revisions={"juletxara/mgsm": COMMIT})
    assert found_task.state == "unknown"
    assert found_task.detail == "juletxara/mgsm is not looked up: lm_eval is not installed here"


@pytest.mark.parametrize(
    ("counts", "detail"),
    [
        ({"de": 2}, "the file of a language lacks items: de has 2, others have 3"),
        ({"es": 0}, "es.jsonl: holds no items"),
    ],
)
def test_a_file_that_lacks_items_is_named(tmp_path: Path, counts: dict[str, int], detail: str):
    [_, data] = found(data={"mgsm": items(tmp_path, **counts)})
    assert data.state == "missing"
    assert detail.removeprefix("es.jsonl: ") in data.detail
    assert data.remedy


def test_one_file_for_all_languages_is_refused_as_by_the_step(tmp_path: Path):
    items(tmp_path)
    [_, data] = found(data={"mgsm": str(tmp_path / "en.jsonl")})
    assert data.state == "missing"
    assert "would hold the items of both en and es" in data.detail


def test_files_of_other_data_sets_are_read_for_the_languages_that_are_asked(tmp_path: Path):
    pattern = items(tmp_path, de=0)
    data = {"CohereLabs/Global-MMLU-Lite": pattern}
    given = {"tasks": ["global_mmlu_{language}"], "data": data}
    [_, empty] = found(**given)
    assert (empty.state, "holds no items" in empty.detail) == ("missing", True)
    [_, enough] = found(**given, languages={"global_mmlu_{language}": ["en", "es"]})
    assert (enough.state, enough.detail) == ("ok", "en 3, es 3")


def test_a_folder_of_tasks_that_is_not_there_is_named(tmp_path: Path):
    [task] = found(include_path=str(tmp_path / "gone"))
    assert (task.state, task.remedy) == ("missing", "Correct evaluation.include_path.")


def fetched(folder: Path, dataset: str) -> str:
    """Put a whole data set of the hub into a store, as `lidr fetch` does; return its address."""
    pins = {"dataset": dataset, "revision": COMMIT, "file": ""}
    stage = source_stage(open_store(str(folder / "store")), pins)
    stage.write("README.md", b"es/test.jsonl is one of its files")
    stage.finish({})
    return stage.uri


DIRECT = {"tasks": ["mgsm_direct_{language}"]}
BOTH = {"tasks": ["mgsm_direct_{language}", "mgsm_paper_{language}"]}


@pytest.mark.parametrize("suffix", ["", "#licence=MIT"])
def test_a_data_set_that_only_the_harness_reads_is_left_to_the_step(tmp_path: Path, suffix: str):
    data = {"juletxara/mgsm": fetched(tmp_path, "juletxara/mgsm") + suffix}
    [task, left] = found(**DIRECT, data=data)
    assert (task.state, left.state, left.detail) == ("ok", "ok", "read by the step")
    [_, refused] = found(**BOTH, data=data)
    assert (refused.state, "has no file test.* or en.*" in refused.detail) == ("missing", True)


def test_a_configuration_that_only_the_harness_has_is_left_to_the_step(tmp_path: Path):
    pattern = str(tmp_path / "{config}/test.jsonl")
    [_, left] = found(**DIRECT, data={"juletxara/mgsm": pattern})
    assert (left.state, left.detail) == ("ok", "read by the step")
    [_, refused] = found(**BOTH, data={"juletxara/mgsm": pattern})
    assert (refused.state, "{config} stands for nothing" in refused.detail) == ("missing", True)
    data = {"mgsm": items(tmp_path / "ours"), "juletxara/mgsm": pattern}
    [_, ours, left] = found(**BOTH, data=data)
    assert (ours.detail, left.detail) == ("en 3, es 3, de 3", "read by the step")


def test_items_are_counted_where_their_own_key_says(tmp_path: Path):
    counts = dict.fromkeys(LANGUAGES, 2)
    data = {"mgsm": items(tmp_path / "a"), "juletxara/mgsm": items(tmp_path / "b", **counts)}
    [_, ours, harness] = found(**BOTH, data=data)
    assert (ours.detail, harness.detail) == ("en 3, es 3, de 3", "en 2, es 2, de 2")
    [_, ours, unread] = found(data=data)
    assert (ours.detail, unread.detail) == ("en 3, es 3, de 3", "read by no task")


@pytest.mark.slow
def test_a_key_of_tasks_that_only_the_harness_knows_is_read_in_their_languages(tmp_path: Path):
    (tmp_path / "en.jsonl").write_text('{"question": "1?"}\n')
    data = {"allenai/ai2_arc": str(tmp_path / "{language}.jsonl")}
    tasks = ["arc_easy", "mgsm_paper_{language}"]
    [task, arc] = found(tasks=tasks, languages={"arc_easy": ["en"]}, data=data)
    assert (task.state, arc.state, arc.detail) == ("ok", "ok", "en 1")


@pytest.mark.parametrize("split", ["test", "validation", "val"])
def test_items_are_found_in_any_split_that_a_task_evaluates(tmp_path: Path, split: str):
    task = "truthfulqa_{language}_mc1"
    given = {"tasks": [task], "languages": {task: ["es"]}}
    data = {"alexandrainst/m_truthfulqa": str(tmp_path)}
    [_, empty] = found(**given, data=data)
    assert empty.state == "missing"
    assert empty.detail.endswith(
        "has no file test.* or es.* (.jsonl, .json, .tsv, .parquet), nor "
        "test-*.parquet or es-*.parquet"
    )
    (tmp_path / f"{split}.jsonl").write_text('{"question": "1?"}\n')
    [_, some] = found(**given, data=data)
    assert (some.state, some.detail) == ("ok", "es 1")


def test_items_of_a_user_s_task_are_looked_for_in_its_split(tmp_path: Path):
    (tmp_path / "own.yaml").write_text(
        "task: own\ndataset_path: own/data\noutput_type: generate_until\nvalidation_split: dev\n"
    )
    (tmp_path / "items").mkdir()
    (tmp_path / "items/test.jsonl").write_text('{"question": "1?"}\n')
    given = {"tasks": ["own"], "languages": {"own": ["es"]}, "include_path": str(tmp_path)}
    [_, absent] = found(**given, data={"own/data": str(tmp_path / "items")})
    assert (absent.state, "has no file dev.* or es.*" in absent.detail) == ("missing", True)
    (tmp_path / "items/dev.jsonl").write_text('{"question": "1?"}\n' * 2)
    [_, there] = found(**given, data={"own/data": str(tmp_path / "items")})
    assert (there.state, there.detail) == ("ok", "es 2")


def test_a_folder_of_tasks_is_unknown_where_pods_read_it(tmp_path: Path):
    [task] = found("cluster", include_path=str(tmp_path))
    assert task.state == "unknown"
    assert task.detail == f"mgsm_paper_{{language}}, here; pods may not see {tmp_path}"
    [task] = found("cluster", include_path="/opt/tasks")
    assert task.state == "unknown"
    assert task.detail == (
        "/opt/tasks is not a folder here; pods read it from their image or a volume"
    )
    (tmp_path / "mine.yaml").write_text("task: mgsm_paper_es\ntest_split: [test\n")
    [task] = found("cluster", include_path=str(tmp_path))
    assert task.state == "missing"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_items_are_unknown_where_pods_read_them(tmp_path: Path, scheme: str):
    data = {"mgsm": f"{scheme}{tmp_path}/{{language}}.jsonl"}
    [_, gone] = found("cluster", data=data)
    assert gone.state == "unknown"
    assert gone.detail.endswith("is not here; pods read it from their image or a volume")
    [_, gone] = found(data=data)
    assert gone.state == "missing"
    items(tmp_path)
    (tmp_path / "es.jsonl").unlink()
    [_, cut] = found("cluster", data=data)
    assert cut.state == "missing"
    items(tmp_path)
    [_, here] = found("cluster", data=data)
    assert (here.state, here.detail) == (
        "unknown",
        f"en 3, es 3, de 3, here; pods may not see {data['mgsm']}",
    )


def test_items_of_a_configuration_are_unknown_where_pods_read_them(tmp_path: Path):
    [_, here] = found("cluster", **DIRECT, data={"juletxara/mgsm": f"{tmp_path}/{{config}}.jsonl"})
    assert (here.state, "pods may not see" in here.detail) == ("unknown", True)
    [_, gone] = found("cluster", **DIRECT, data={"juletxara/mgsm": "/nowhere/{config}.jsonl"})
    assert (gone.state, "is not here" in gone.detail) == ("unknown", True)
    assert all("s3://" in each.remedy and "fetch" not in each.remedy for each in (here, gone))
