"""lidr check on the evaluation: tasks, what they read, and files that lack items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.pipelines.checks.evaluation import evaluation_findings
from lidr.pipelines.checks.finding import CheckInputs, Finding
from lidr.pipelines.cli.inputs import read_profile
from tests.fakes import make_recipe

LANGUAGES = ("en", "es", "de")
HARNESS = "lidr.components.evaluate.index.task_manager"


def found(**evaluation: object) -> list[Finding]:
    recipe = make_recipe(evaluation={"tasks": ["mgsm_paper_{language}"], **evaluation})
    return list(evaluation_findings(CheckInputs(recipe, read_profile("local"), 60)))


def items(folder: Path, **counts: int) -> str:
    """Write a file of so many items for each language; return the pattern of their names."""
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


def test_without_the_harness_what_is_not_known_is_unknown(monkeypatch):
    def absent(*_: object) -> None:
        raise ModuleNotFoundError(name="lm_eval")

    monkeypatch.setattr(HARNESS, absent)
    [task] = found(tasks=["mgsm_papr_{language}"])
    assert (task.state, task.remedy) == ("unknown", "pip install 'lidr[evaluate]'")
    assert task.detail == "mgsm_papr_en is not looked up: lm_eval is not installed here"


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
    assert "would be the items of en and es alike" in data.detail


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
