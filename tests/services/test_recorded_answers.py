"""What the stand-in of Kubeflow sends has the shape that a recorded run has."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from tests.argo import Workflow
from tests.cluster.recording import read
from tests.kubernetes_api import ended
from tests.services.kubeflow import TOKEN, Cluster
from tests.services.workflows import LOOP, ROUND, set_tasks, task


def sent(cluster: Cluster, path: str) -> Any:
    """Return an answer's JSON as it comes over the wire."""
    request = urllib.request.Request(
        cluster.kubeflow.url + path, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def shape(value: Any) -> Any:
    """Return keys and kinds of values; a list has the shapes of what is in it, once each."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in sorted(value.items())}
    if isinstance(value, list):
        return sorted({json.dumps(shape(each), sort_keys=True) for each in value})
    if isinstance(value, str) and value[:2] in ("20", "19", "00") and value[-1:] == "Z":
        return "time"
    return type(value).__name__


@pytest.fixture
def answers(cluster: Cluster, submitted: str) -> tuple[Any, Any]:
    """A failed run as the stand-in sends it, and the recorded one."""
    set_tasks(
        cluster,
        task(f"{LOOP}.prepare"),
        task(f"{ROUND}.train", "Failed", message="main: Error (exit code 2)"),
        task(f"{LOOP}.next-state", "Omitted"),
    )
    cluster.end_run("FAILED")
    return sent(cluster, f"/apis/v2beta1/runs/{submitted}"), read("run-failed")


def test_kubeflow_stand_in_sends_a_run_in_the_recorded_shape(answers: tuple[Any, Any]):
    mine, recorded = (dict(answer) for answer in answers)
    mine_tasks, tasks = (each.pop("run_details")["task_details"] for each in (mine, recorded))
    own, history = (each.pop("state_history") for each in (mine, recorded))
    assert shape(mine) == shape(recorded)
    assert set(shape(own)) >= set(shape(history)), "a quick cluster notes no entry without a state"
    assert {each.get("state") for each in history} >= {each.get("state") for each in own} - {None}
    kinds = {json.dumps(shape(each)) for each in tasks}
    assert {json.dumps(shape(each)) for each in mine_tasks} <= kinds


def test_kubeflow_stand_in_uses_the_recorded_words_for_states(answers: tuple[Any, Any]):
    mine, recorded = (
        {each.get("state") for each in answer["run_details"]["task_details"]} for answer in answers
    )
    assert mine == recorded == {"SUCCEEDED", "FAILED", None}


def test_kubeflow_stand_in_says_that_what_runs_has_no_end(cluster: Cluster, submitted: str):
    set_tasks(cluster, task(f"{ROUND}.train", "Running"))
    answer = sent(cluster, f"/apis/v2beta1/runs/{submitted}")
    assert open_ends(answer) == open_ends(read("run-compressed")) == {"0001-01-01T00:00:00Z"}
    assert answer["finished_at"] == "1970-01-01T00:00:00Z"


def open_ends(run: Any) -> set[str]:
    tasks = run["run_details"]["task_details"]
    return {each["end_time"] for each in tasks if each.get("state") == "RUNNING"}


def test_kubernetes_stand_in_names_pods_as_the_workflow_does(cluster: Cluster, submitted: str):
    flow = Workflow(submitted)
    pod = flow.task(f"{ROUND}.train")
    assert cluster.kubernetes.put_step(submitted, f"{ROUND}.train.executor", **ended("", 0)) == pod
