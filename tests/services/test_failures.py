"""What lidr says of a run's failures: Kubeflow's word, Argo's, the pods' and the store's."""

from __future__ import annotations

import re

import pytest

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.runs import EXECUTION_VARIABLE, note_failure
from tests.kubernetes_api import ended, waiting
from tests.services.kubeflow import Cluster, write_end
from tests.services.workflows import (
    ENDED,
    LAUNCHED,
    LOOP,
    ROUND,
    ROUND_2,
    RUN,
    TENSE,
    rows,
    set_tasks,
    task,
)


@pytest.mark.parametrize("serves_v1", [True, False])
def test_a_failure_is_in_the_failed_step_s_row(cluster: Cluster, submitted: str, serves_v1: bool):
    cluster.kubeflow.serves_v1 = serves_v1
    laid = set_tasks(
        cluster,
        task(f"{ROUND}.generate", seconds=5),
        task(f"{ROUND_2}.generate", "Failed", message=f"main: OOM{TENSE}"),
        task(f"{ROUND_2}.pair", "Omitted"),
        task("root.exit-handler-1.onExit.cleanup", "Failed", message="main: Error (exit code 1)"),
    )
    cluster.end_run("FAILED")
    status = cluster.json("status", RUN)
    found = rows(status)
    assert status["state"] == "failed"
    assert set(found) == {(1, "generate"), (2, "generate")}
    assert found[1, "generate"]["state"] == "done"
    row = found[2, "generate"]
    assert row["state"] == "failed"
    if serves_v1:
        pod = laid.pods[f"{ROUND_2}.generate"]
        assert (row["note"], row["pod"]) == ("main: OOM\ufffd[2J", pod)
        assert status["notes"] == ["cleanup: main: Error (exit code 1)"]
    else:
        assert status["notes"] == ["cleanup: failed"]


def test_a_failed_row_has_the_pod_s_reason_and_the_step_s_last_words(
    cluster: Cluster, submitted: str
):
    flow = set_tasks(
        cluster,
        task(f"{ROUND}.pair"),
        task(f"{ROUND}.train", "Failed", message="main: Error (exit code 2)"),
        task(f"{LOOP}.next-state", "Omitted"),
    )
    cluster.end_run("FAILED")
    path = f"{ROUND}.train.executor"
    pod = cluster.kubernetes.put_step(submitted, path, **ended("Error", 2, "main"))
    cluster.kubernetes.print(
        pod, *LAUNCHED, f"lidr failed step=train message=no {TENSE} exit_code=2"
    )
    cluster.kubernetes.print(pod, "Traceback (most recent call last):", "x.BadInput: no", *ENDED)
    row = rows(cluster.json("status", RUN))[1, "train"]
    assert row["note"] == "Error (exit code 2): no \ufffd[2J"
    assert row["pod"] == pod == flow.pods[f"{ROUND}.train"]
    code, out, _ = cluster.lidr("status", RUN)
    assert code == 0 and f"(pod {pod})" in re.sub(r"\s+", " ", out).replace("- ", "-")


@pytest.mark.parametrize(("noted", "step"), [("train", "train"), ("register", "gate")])
def test_a_failed_row_has_the_words_that_its_step_left_on_the_store(
    cluster: Cluster, submitted: str, monkeypatch: pytest.MonkeyPatch, noted: str, step: str
):
    cluster.kubernetes.forbidden = {"pods"}
    name = {"gate": f"{LOOP}.conclude-2"}.get(step, f"{ROUND}.{step}")
    set_tasks(cluster, task(name, "Failed", message="main: Error (exit code 2)"))
    cluster.end_run("FAILED")
    monkeypatch.setenv(EXECUTION_VARIABLE, submitted)
    note_failure(cluster.store, RUN, noted, 1, BadInput(f"no {TENSE} room"))
    row = rows(cluster.json("status", RUN))[1, step]
    said = f"{noted}: " if noted != step else ""
    assert row["note"] == f"main: Error (exit code 2): {said}no \ufffd[2J room."
    monkeypatch.setenv(EXECUTION_VARIABLE, "another")
    note_failure(cluster.store, RUN, noted, 1, BadInput("of another execution"))
    assert rows(cluster.json("status", RUN))[1, step]["note"] == "main: Error (exit code 2)"


def test_of_several_attempts_of_another_task_the_newest_is_shown(cluster: Cluster, submitted: str):
    set_tasks(cluster, task(f"{LOOP}.next-state", "Failed", message="main: Error (exit code 1)"))
    cluster.end_run("FAILED")
    path = f"{LOOP}.next-state.executor"
    pods = cluster.kubernetes.pods
    first = pods.pop(cluster.kubernetes.put_step(submitted, path, **ended("Error", 1, "main")))
    first["metadata"] |= {"name": "z-first", "creationTimestamp": "2026-01-01T00:00:01Z"}
    newest = cluster.kubernetes.put_step(submitted, path, **ended("OOMKilled", 137, "main"))
    pods[newest]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:02Z"
    pods["z-first"] = first
    (note,) = cluster.json("status", RUN)["notes"]
    assert "out of memory" in note.lower() or "OOMKilled" in note
    assert newest in note


FORBIDDEN = (
    'pods "lidr-tiny-world-x7k2p-system-dag-driver-1" is forbidden: error looking up service '
    'account kubeflow/lidr-pipeline: serviceaccount "lidr-pipeline" not found'
)


def test_a_run_whose_first_pod_was_forbidden_says_so(cluster: Cluster, submitted: str):
    set_tasks(cluster, task("root.exit-handler-1", "Omitted", driver="Error", message=FORBIDDEN))
    cluster.end_run("FAILED")
    status = cluster.json("status", RUN)
    assert status["state"] == "failed"
    assert status["notes"] == [f"the driver of exit-handler-1: {FORBIDDEN}"]


def test_a_step_whose_driver_failed_has_failed(cluster: Cluster, submitted: str):
    set_tasks(cluster, task(f"{ROUND}.train", "Omitted", driver="Error", message=FORBIDDEN))
    cluster.end_run("FAILED")
    row = rows(cluster.json("status", RUN))[1, "train"]
    assert (row["state"], row["note"]) == ("failed", f"its driver: {FORBIDDEN}")


DRIVER_LOG = (
    "I1129 17:31:49.741252      16 main.go:353] input RuntimeConfig:{",
    '  "parameterValues": {}',
    "}",
    "I1129 17:31:51.435771      16 resolve.go:138] parent DAG input parameters: map[]",
    "F1129 17:31:51.463553      16 main.go:127] KFP driver: driver.Container(pipelineName=lidr, "
    'runID=5ffd3dcb, taskDisplayName="train", dagExecutionID=74, componentSpec) failed: '
    'failed to resolve inputs: two tasks have the same task name "pair_74", id1=93 id2=95',
    'time=2026-11-29T17:31:51.518Z level=INFO msg="sub-process exited" error="1" argo=true',
    "Error: exit status 1",
)


def test_a_driver_s_error_is_the_reason_of_its_step(cluster: Cluster, submitted: str):
    message = "main: Error (exit code 1)"
    driver = f"{LOOP}.iteration-driver"
    set_tasks(cluster, task(f"{ROUND}.train", "Omitted", driver="Failed", message=message))
    cluster.end_run("FAILED")
    for path in (f"{ROUND}.train-driver", driver):
        pod = cluster.kubernetes.put_step(submitted, path, **ended("Error", 1, "main"))
        cluster.kubernetes.print(pod, *DRIVER_LOG)
    why = (
        "Error (exit code 1): failed to resolve inputs: "
        'two tasks have the same task name "pair_74", id1=93 id2=95'
    )
    status = cluster.json("status", RUN)
    assert rows(status)[1, "train"]["note"] == f"its driver: {why}"
    assert status["notes"] == [], "the other driver's death was made good"


def test_a_step_waits_for_what_argo_says_where_pods_may_not_be_seen(
    cluster: Cluster, submitted: str
):
    cluster.kubernetes.forbidden = {"pods"}
    message = 'pods "x" is forbidden: exceeded quota: gpus, requested: 8, used: 8, limited: 8'
    set_tasks(cluster, task(f"{ROUND}.train", "Pending", message=message))
    row = rows(cluster.json("status", RUN))[1, "train"]
    assert (row["state"], row["note"]) == ("waiting", message)


def test_a_driver_and_a_first_container_that_cannot_start_are_told_of(
    cluster: Cluster, submitted: str
):
    set_tasks(cluster, task(f"{ROUND}.train", driver="Pending"), task(f"{LOOP}.next-state"))
    why = waiting("ImagePullBackOff", "no kfp-driver:2.17.0", "main")
    cluster.kubernetes.put_step(submitted, f"{ROUND}.train-driver", **why)
    stuck = waiting("ErrImagePull", "no kfp-launcher:2.17.0", "kfp-launcher")
    status = {"phase": "Pending", "initContainerStatuses": stuck["containerStatuses"]}
    cluster.kubernetes.put_step(submitted, f"{LOOP}.next-state.executor", **status)
    told = cluster.json("status", RUN)
    row = rows(told)[1, "train"]
    assert (row["state"], row["note"]) == ("waiting", "ImagePullBackOff: no kfp-driver:2.17.0")
    assert told["notes"] == ["next-state: kfp-launcher: ErrImagePull: no kfp-launcher:2.17.0"]


def test_a_run_that_kubeflow_alone_calls_succeeded_has_failed(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    set_tasks(cluster, task(f"{LOOP}.prepare", "Failed", message="main: Error (exit code 1)"))
    cluster.end_run("SUCCEEDED")
    status = cluster.json("status", RUN)
    assert (status["state"], rows(status)[0, "prepare"]["state"]) == ("failed", "failed")
    assert status["notes"][0] == (
        "Kubeflow calls the run succeeded, but M_0 prepare failed; "
        "the same `lidr submit` continues it"
    )
    (listed,) = cluster.json("status")
    assert listed["state"] == "failed"

    set_tasks(cluster, task(f"{LOOP}.prepare"))
    assert "its result is not on the store" in cluster.json("status", RUN)["notes"][0]
    write_end(cluster.store, recipe, RUN)
    done = cluster.json("status", RUN)
    assert (done["state"], done["notes"]) == ("done", [])


@pytest.mark.parametrize("serves_v1", [True, False])
def test_a_cancelled_run_which_kubeflow_calls_failed_is_cancelled(
    cluster: Cluster, submitted: str, serves_v1: bool
):
    cluster.kubeflow.serves_v1 = serves_v1
    assert cluster.json("cancel", RUN)["ended"] == [submitted]
    message = "Step exceeded its deadline"
    laid = set_tasks(cluster, task(f"{ROUND}.train", "Failed", message=message), cancelled=True)
    laid.flow.message = laid.flow.settled()[laid.flow.name]["message"]
    cluster.kubeflow.set_workflow(laid.flow)
    cluster.end_run("FAILED")
    status = cluster.json("status", RUN)
    assert (status["state"], status["notes"]) == ("cancelled", [])
    assert rows(status)[1, "train"]["state"] == "cancelled"
    assert cluster.json("status")[0]["state"] == "cancelled"


def test_a_run_that_kubeflow_alone_calls_failed_is_done(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    cluster.end_run("FAILED")
    write_end(cluster.store, recipe, RUN)
    status = cluster.json("status", RUN)
    assert status["state"] == "done"
    assert status["notes"] == [
        "Kubeflow calls the run failed, but all its results are on the store"
    ]


@pytest.mark.parametrize("serves_v1", [True, False])
def test_a_run_that_argo_began_to_compress_is_followed_all_the_same(
    cluster: Cluster, recipe: Recipe, submitted: str, serves_v1: bool
):
    cluster.kubeflow.serves_v1 = serves_v1
    early = (task(f"{ROUND}.generate"), task(f"{ROUND}.translate", "Running"))
    set_tasks(cluster, *early)
    late = (task(f"{ROUND}.generate"), task(f"{ROUND}.translate"), task(f"{ROUND}.pair"))
    set_tasks(cluster, *late, frozen=True)
    cluster.end_run()
    write_end(cluster.store, recipe, RUN)
    status = cluster.json("status", RUN)
    told = {step: row["state"] for (_, step), row in rows(status).items() if step != "report"}
    if serves_v1:
        assert told == {"generate": "done", "translate": "done", "pair": "done"}
    else:
        assert told == {"generate": "done"}
        assert "Kubeflow's list of tasks ends before the run did" in status["notes"][0]
    assert status["state"] == "done"
