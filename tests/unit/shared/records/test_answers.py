"""Answers of servers that are not what they should be, through the clients that read them."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from lidr.components.shared.core.errors import BadInput, EngineFailed, RegistryFailed
from lidr.components.shared.kubernetes.logs import progress_in
from tests.fuzz import services


def answer(content: Any, kind: str = "application/json") -> services.Answer:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return 200, kind, data


def answers(usual: dict[str, Any], **changed: services.Answer) -> dict[str, services.Answer]:
    return {name: answer(content) for name, content in usual.items()} | changed


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        (answer(b"\xff\xfe"), "does not answer as Kubeflow's API does"),
        (answer(b"null"), "does not answer as Kubeflow's API does"),
        (answer({"runs": [3]}), "does not answer as Kubeflow's API does"),
        (answer({"runs": []}, "text/html"), "does not answer as Kubeflow's API does .text/html."),
        (answer({"next_page_token": "a"}), "the same page again and again. Check kubeflow"),
    ],
)
def test_kubeflow_that_is_none_is_told_in_words(runs, words):
    services._check_kubeflow(answers(services._KFP))
    with pytest.raises(BadInput, match=words):
        services._check_kubeflow(answers(services._KFP, runs=runs))


def test_schedules_without_a_date_are_listed():
    usual = deepcopy(services._KFP)
    usual["recurringruns"]["recurringRuns"].append({"recurring_run_id": "s2"})
    services._check_kubeflow(answers(usual))


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (answer({"model_versions": [{"name": "x", "version": ""}]}), "does not answer as MLflow"),
        (answer({"model_versions": 3}), "does not answer as MLflow"),
        (answer({"next_page_token": "a"}), "the same page again and again. Check the server"),
    ],
)
def test_mlflow_that_is_none_is_told_in_words(versions, words):
    services._check_mlflow(answers(services._MLFLOW))
    given = answers(services._MLFLOW)
    given["model-versions/search"] = versions
    with pytest.raises(RegistryFailed, match=words):
        services._check_mlflow(given)


@pytest.mark.parametrize(
    "change",
    [
        {"choices": None},
        {"choices": []},
        {"choices": [3]},
        {"choices": [{"text": None, "finish_reason": "stop"}]},
        {"usage": None},
        {"usage": {"prompt_tokens": "9", "completion_tokens": 3}},
    ],
)
def test_an_engine_that_answers_nonsense_ends_the_stage_and_nobody_waits(change):
    services._check_engine(answer(services._COMPLETION))
    with pytest.raises(EngineFailed):
        services._check_engine(answer(services._COMPLETION | change))


def test_a_judge_that_answers_nonsense_ends_the_stage():
    services._check_judge(answer(services._CHAT))
    used = {"usage": {"prompt_tokens": "9", "completion_tokens": 3}}
    for change in ({"choices": None}, {"choices": [3]}, used):
        with pytest.raises(EngineFailed):
            services._check_judge(answer(services._CHAT | change))


def test_a_line_of_a_log_is_progress_only_where_it_counts():
    assert progress_in("[rank0] lidr progress done=1 total=2") == {"done": 1, "total": 2}
    for line in (
        "lidr progress event=failed done=1 total=2",
        "lidr progress done=x total=2",
        "lidr progress rate=3",
        "lidr failed message=x",
    ):
        assert progress_in(line) is None
