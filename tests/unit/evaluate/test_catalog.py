from __future__ import annotations

import pytest
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager

from lidr.components.evaluate.catalog import Method, benchmarks
from lidr.components.evaluate.index import require_tasks
from lidr.components.evaluate.items.local_data import canonical, leaf_tasks
from lidr.components.evaluate.items.problems import SOURCES
from lidr.components.evaluate.limits import DEFAULT_MAX_TOKENS, TASKS, max_tokens_of
from lidr.components.shared.config.evaluation import Evaluation
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.languages import NAMES

RUN = [row for row in benchmarks() if row.method is not Method.JUDGE]


@pytest.fixture(scope="module")
def manager():
    """The index of all tasks, ours and the harness's."""
    return TaskManager(include_path=[str(TASKS)])


def name(row, code: str) -> str:
    return row.task.format(language=code, language_name=NAMES[code].lower())


@pytest.mark.parametrize("row", RUN, ids=lambda row: row.task)
def test_every_task_exists_in_every_language_it_is_said_to_have(manager, row):
    assert [code for code in row.languages if name(row, code) not in manager.task_index] == []
    assert list(row.languages) == sorted(set(row.languages), key=row.languages.index)


@pytest.mark.parametrize("row", RUN, ids=lambda row: row.task)
def test_data_method_and_metric_are_the_task_s_own(manager, row):
    for task in leaf_tasks(manager, name(row, row.languages[0])):
        config = manager.task_index[task].cfg
        kind = "generate_until" if row.method is Method.GENERATE else "multiple_choice"
        assert config["output_type"] == kind
        if "dataset_path" in config:
            assert canonical(config["dataset_path"]) == row.data
            assert row.metric.startswith(config["metric_list"][0]["metric"])
        if row.method is Method.GENERATE:
            limit = normalize_gen_kwargs(config["generation_kwargs"], DEFAULT_MAX_TOKENS)[
                "max_gen_toks"
            ]
            assert (row.max_tokens or DEFAULT_MAX_TOKENS) == limit
            assert (
                max_tokens_of(Evaluation(tasks=(row.task,)), name(row, row.languages[0])) == limit
            )


def test_our_own_rows_are_pinned_to_a_commit():
    pinned = {row.data: row.revision for row in benchmarks() if row.revision}
    assert pinned.keys() == SOURCES.keys()
    for family, revision in pinned.items():
        assert len(revision) == 40
        assert revision in SOURCES[family].source.address


def test_each_row_is_there_once():
    tasks = [row.task for row in benchmarks()]
    assert len(set(tasks)) == len(tasks)


def refused(manager, **settings: object) -> str:
    with pytest.raises(BadInput) as caught:
        evaluation = Evaluation.model_validate(settings)
        require_tasks(evaluation, ("en", "es", "ru"), set(manager.all_tasks))
    return str(caught.value)


def test_a_language_that_a_task_lacks_is_refused_with_those_it_has(manager):
    message = refused(manager, tasks=["global_mmlu_{language}"])
    assert "global_mmlu_{language} has no Russian ('global_mmlu_ru')" in message
    assert "its languages are ar, bn, de, en, es" in message
    assert "evaluation.languages" in message


def test_an_unknown_task_is_refused_with_the_nearest(manager):
    message = refused(manager, tasks=["mgsm_directt_{language}"])
    assert "no task 'mgsm_directt_en' (did you mean 'mgsm_direct_en'?)" in message
    assert "--list-tasks" in message


def test_a_task_runs_in_the_languages_it_is_given(manager):
    settings = Evaluation(
        tasks=("global_mmlu_{language}", "include_base_44_{language_name}", "arc_challenge"),
        languages={
            "global_mmlu_{language}": ("en", "es"),
            "include_base_44_{language_name}": ("ru",),
            "arc_challenge": ("en",),
        },
    )
    require_tasks(settings, ("en", "es", "ru"), set(manager.all_tasks))
    assert settings.tasks_in(("en", "es", "ru")) == {
        "global_mmlu_en": "en",
        "global_mmlu_es": "es",
        "include_base_44_russian": "ru",
        "arc_challenge": "en",
    }


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tasks": ["arc_challenge"]}, "say under languages which one"),
        ({"tasks": ["a_{lang}"]}, "no other braces"),
        ({"tasks": ["a_{language}"], "languages": {"b_{language}": ["en"]}}, "did you mean"),
        (
            {"tasks": ["a_{language}"], "languages": {"a_{language}": ["xx"]}},
            "cannot be identified",
        ),
        ({"tasks": ["a_{language}"], "data": {"mgsm": "x/{split}"}}, "no other braces"),
        ({"tasks": ["a_{language}"], "data": {"mgsm": ""}}, "a source needs its address"),
    ],
)
def test_a_wrong_setting_is_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        Evaluation.model_validate(settings)
