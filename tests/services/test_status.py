"""lidr status and cancel: Kubeflow, Kubernetes and the store over HTTP, all of them."""

from __future__ import annotations

import json
import re
import threading
import time
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.runs import (
    EXECUTION_VARIABLE,
    note_scheduled,
    recipe_key,
    state_key,
)
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.pipelines.cluster import recurring
from lidr.pipelines.cluster.namespace import namespace_of
from lidr.pipelines.stored import StoredRun
from tests.cluster.recording import read
from tests.kfp_api import now
from tests.kubernetes_api import Refused, ended, running, unschedulable, waiting
from tests.services.kubeflow import Cluster, stamp
from tests.services.workflows import LOOP, ROUND, RUN, TENSE, rows, set_tasks, task
from tests.usages import plant_usage
from tests.yaml_text import read_yaml


def write_start(cluster: Cluster, recipe: Recipe) -> Stage:
    """Write what a run's first state and world stage are; return the world."""
    store = cluster.store
    world = new_stage(store, "prepare", 1, {}, {})
    world.finish({"prompts": 1500})
    evaluation = new_stage(store, "evaluate", 1, {}, {})
    evaluation.finish({})
    store.write(recipe_key(RUN), recipe.model_dump_json().encode())
    state = {"iteration": 0, "verdict": "continue", "promoted": True, "reason": "the start"}
    uris = {"inputs": world.uri, "model": world.uri, "evaluation": evaluation.uri}
    rest = dict.fromkeys(("responses", "translations", "pairs", "judgements", "decision"), "")
    store.write(
        state_key(RUN, 0), json.dumps({**state, **uris, **rest, "version": "tiny/1"}).encode()
    )
    return world


def under_way(cluster: Cluster) -> dict[str, Stage]:
    stored = StoredRun.read(cluster.store, RUN)
    assert stored is not None
    return stored.under_way()


def test_a_status_is_put_together_from_all_who_know(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    write_start(cluster, recipe)
    stages = under_way(cluster)
    stages["generate"].write("responses/en/00000.parquet", b"")
    stages["generate"].finish({"tokens_per_second": 1234.0})
    for chunk in range(3):
        stages["translate"].write(f"translations/en-es/{chunk:05}.parquet", b"")
    for iteration, step, hours in ((0, "evaluate", 0.5), (1, "generate", 1.5)):
        plant_usage(cluster.store, RUN, iteration, hours=hours, step=step)
    set_tasks(
        cluster,
        task(f"{LOOP}.prepare", seconds=100),
        task(f"{LOOP}.evaluate"),
        task(f"{ROUND}.generate", seconds=7200),
        task(f"{ROUND}.translate", "Running", seconds=1800),
    )
    pod = cluster.kubernetes.put_step(submitted, f"{ROUND}.translate.executor", **running("main"))
    cluster.kubernetes.print(
        pod,
        "noise",
        "lidr progress step=translate done=30 total=90 unit=requests rate=55.5"
        " rate_unit=tokens seconds_left=3",
    )
    status = cluster.json("status", RUN)
    found = rows(status)
    assert list(found) == [
        (0, "prepare"),
        (0, "evaluate"),
        (1, "generate"),
        (1, "translate"),
    ]
    generated, translated = found[1, "generate"], found[1, "translate"]
    assert (generated["state"], generated["seconds"]) == ("done", 7200)
    assert (generated["rate"], generated["gpu_seconds"]) == (1234.0, 5400)
    assert found[0, "evaluate"]["gpu_seconds"] == 1800
    assert (translated["state"], translated["done"], translated["total"]) == ("running", 30, 90)
    assert (translated["rate"], translated["rate_unit"]) == (55.5, "tokens")
    assert status["state"] == "running"
    assert status["gpu_hours"] == 2.0
    assert status["links"] == {
        "Kubeflow": f"{cluster.kubeflow.url}/#/runs/details/{submitted}",
        "MLflow": f"{cluster.profile.tracking_uri}/#/models/tiny-world",
    }

    cluster.kubernetes.pods.clear()
    chunks = rows(cluster.json("status", RUN))[1, "translate"]
    assert (chunks["done"], chunks["total"], chunks["unit"]) == (3, 6 * chunks_of(recipe), "chunks")
    code, out, _ = cluster.lidr("status", RUN)
    assert code == 0
    assert re.search(r"M_1 +generate +done +2:00 h +1,234 tokens/s +1\.5", out)


def chunks_of(recipe: Recipe) -> int:
    return -(-recipe.prompts.per_iteration // recipe.generation.chunk_size)


def test_steps_in_shards_are_done_once_their_stages_are(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    write_start(cluster, recipe)
    stages = under_way(cluster)
    set_tasks(cluster, task(f"{ROUND}.roll-out", "Running", seconds=60))
    for chunk in range(chunks_of(recipe)):  # those of the first language: of the shard that ended
        stages["generate"].write(f"responses/en/{chunk:05}.parquet", b"")
    found = rows(cluster.json("status", RUN))
    assert (found[1, "rollout"]["state"], found[1, "generate"]["state"]) == ("running", "")
    assert found[1, "generate"]["done"] < found[1, "generate"]["total"]
    stages["generate"].finish({})
    found = rows(cluster.json("status", RUN))
    assert (found[1, "rollout"]["state"], found[1, "generate"]["state"]) == ("running", "done")


def test_what_was_not_done_again_says_so(cluster: Cluster, recipe: Recipe, submitted: str):
    write_start(cluster, recipe)
    stage = under_way(cluster)["generate"]
    object.__setattr__(stage, "began", stage.began - 500)
    stage.finish({})
    set_tasks(cluster, task(f"{ROUND}.generate", seconds=9))
    assert rows(cluster.json("status", RUN))[1, "generate"]["note"] == "reused"


def _pod(path: str, **status: object):
    def arrange(cluster: Cluster, run_id: str) -> None:
        cluster.kubernetes.put_step(run_id, f"{ROUND}.{path}.executor", **status)

    return arrange


def _queued(cluster: Cluster, run_id: str) -> None:
    add_job(cluster, "other", "")
    cluster.kubernetes.queue("other", "waits, too")
    add_job(cluster, "lidr-train-1", run_id)
    cluster.kubernetes.queue("lidr-train-1", "insufficient unused quota for nvidia.com/gpu")
    _pod("train", **running("main"))(cluster, run_id)


def _pod_queued(cluster: Cluster, run_id: str) -> None:
    pod = cluster.kubernetes.put_step(run_id, f"{ROUND}.generate.executor")
    cluster.kubernetes.queue_pod(pod, "small", "insufficient unused quota for nvidia.com/gpu")


def _node_waits(cluster: Cluster, run_id: str) -> None:
    add_job(cluster, "lidr-train-1", run_id)
    cluster.kubernetes.put_pod("lidr-train-1", **unschedulable("0/3 nodes: 3 Insufficient cpu."))
    _pod("train", **running("main"))(cluster, run_id)


def _mount_fails(cluster: Cluster, run_id: str) -> None:
    path = f"{ROUND}.train.executor"
    pod = cluster.kubernetes.put_step(run_id, path, phase="Pending")
    cluster.kubernetes.warn(pod, "FailedMount", 'secret "lidr-hub" not found')


def add_job(cluster: Cluster, name: str, run_id: str) -> None:
    annotations = {"lidr.dev/kfp-run": run_id, "lidr.dev/stage": "s3://x/stages/train/1"}
    labels = {"kueue.x-k8s.io/queue-name": "lidr"}
    metadata = {"name": name, "uid": f"uid-{name}", "annotations": annotations, "labels": labels}
    cluster.kubernetes.jobs[name] = {"metadata": metadata, "spec": {}}


@pytest.mark.parametrize(
    ("arrange", "step", "note"),
    [
        (
            _pod("generate", **unschedulable("0/9 nodes: 9 Insufficient nvidia.com/gpu.")),
            "generate",
            "unschedulable, too little nvidia.com/gpu",
        ),
        (
            _pod("train", **waiting("ImagePullBackOff", f"no {TENSE}r/train:1", "main")),
            "train",
            "ImagePullBackOff: no \ufffd[2Jr/train:1",
        ),
        (_pod_queued, "generate", "queue small, place 1: insufficient unused quota for nvidia"),
        (_mount_fails, "train", 'FailedMount: secret "lidr-hub" not found'),
        (
            _queued,
            "train",
            "TrainJob lidr-train-1: queue lidr, place 2: insufficient unused quota for nvidia",
        ),
        (_node_waits, "train", "node lidr-train-1-node-0-0-0: unschedulable, too little cpu"),
    ],
)
def test_a_status_says_what_a_step_waits_for(
    cluster: Cluster, submitted: str, arrange, step: str, note: str
):
    arrange(cluster, submitted)
    set_tasks(cluster, task(f"{ROUND}.{step}", "Running"))
    row = rows(cluster.json("status", RUN))[1, step]
    assert row["state"] == "waiting" and note in row["note"]
    code, out, _ = cluster.lidr("status", RUN)
    assert code == 0 and "\x1b[2J" not in out


def test_gpu_hours_are_what_processes_have_noted_and_not_their_wait_for_a_node(
    cluster: Cluster, submitted: str
):
    add_job(cluster, "lidr-train-1", submitted)
    began = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    cluster.kubernetes.put_pod("lidr-train-1", startTime=began, **running())
    cluster.kubernetes.put_step(submitted, f"{ROUND}.train.executor", **running("main"))
    set_tasks(
        cluster,
        task(f"{ROUND}.generate", seconds=11 * 3600),
        task(f"{ROUND}.train", "Running", seconds=11 * 3600),
    )
    assert cluster.json("status", RUN)["gpu_hours"] == 0, "nothing has held a GPU yet"
    plant_usage(cluster.store, RUN, 1, hours=1, step="generate")
    for _ in range(2):  # nodes
        plant_usage(cluster.store, RUN, 1, hours=1.5, ended=False)
    status = cluster.json("status", RUN)
    found = {step: row["gpu_seconds"] for (_, step), row in rows(status).items()}
    assert found == {"generate": 3600, "train": 10800}
    assert status["gpu_hours"] == 4


def test_a_damaged_note_of_gpu_time_costs_the_gpu_hours_alone(cluster: Cluster, submitted: str):
    plant_usage(cluster.store, RUN, 1, hours=1, step="generate")
    cluster.store.write(f"runs/{RUN}/usage/1-train-x.json", b"{")
    status = cluster.json("status", RUN)
    assert status["gpu_hours"] == 0
    (note,) = [each for each in status["notes"] if "GPU hours are not shown" in each]
    assert "1-train-x.json" in note


def test_gpu_hours_of_shards_are_those_of_the_steps_that_they_run(cluster: Cluster, submitted: str):
    set_tasks(cluster, task(f"{ROUND}.roll-out", "Running"))
    for hours in (1, 2):
        plant_usage(cluster.store, RUN, 1, hours=hours, step="generate")
    found = rows(cluster.json("status", RUN))
    assert found[1, "rollout"]["state"] == "running"
    assert found[1, "generate"]["gpu_seconds"] == 3 * 3600


def test_gpu_hours_of_a_schedule_s_run_are_under_its_name_on_the_store(
    cluster: Cluster, submitted: str, monkeypatch
):
    cluster.kubeflow.run.recurring_run_id = "a-schedule"
    plant_usage(cluster.store, "nightly-1", 1, hours=2)
    assert cluster.json("status", RUN)["gpu_hours"] == 0
    monkeypatch.setenv(EXECUTION_VARIABLE, submitted)
    note_scheduled(cluster.store, "nightly-1")
    assert cluster.json("status", RUN)["gpu_hours"] == 2


def test_a_promotion_has_a_row_for_each_model_that_it_measures(cluster: Cluster, submitted: str):
    tasks = [task(f"root.{name}") for name in ("nominate", "prepare", "evaluate", "judge")]
    failed = task("root.judge-2", "Failed", message="main: Error (exit code 1)")
    set_tasks(cluster, *tasks, task("root.evaluate-2", seconds=90), failed)
    cluster.end_run("FAILED")
    found = rows(cluster.json("status", RUN))
    assert {place: row["state"] for place, row in found.items()} == {
        (0, "prepare"): "done",
        (1, "evaluate"): "done",
        (1, "judge"): "done",
        (2, "evaluate"): "done",
        (2, "judge"): "failed",
    }
    assert (found[1, "evaluate"]["seconds"], found[2, "evaluate"]["seconds"]) == (60, 90)


def test_profile_of_another_store_makes_no_run_a_failed_one(
    cluster: Cluster, submitted: str, tmp_path
):
    set_tasks(cluster, task(f"{LOOP}.prepare"), task(f"{ROUND}.generate"))
    cluster.end_run()
    home, other = cluster.profile.store, str(tmp_path / "another")
    cluster.configure(store=other)
    status = cluster.json("status", RUN)
    assert status["state"] == "done"
    assert status["notes"] == [
        f"the run is on the store {home}, not on the profile's ({other}): what it has written is "
        "not shown"
    ]


def test_a_run_whose_pods_are_gone_says_what_ends_it(cluster: Cluster, submitted: str):
    set_tasks(cluster, task(f"{LOOP}.prepare", "Running"))
    told = cluster.json("status", RUN)
    assert told["state"] == "running"
    assert told["notes"] == [
        "Kubeflow calls the run running, but no pod of it is in namespace lidr. If its Workflow "
        "was deleted, `lidr cancel` ends it, and the same `lidr submit` continues it"
    ]


def test_warnings_come_in_their_order_whichever_api_wrote_them(cluster: Cluster, submitted: str):
    step = f"{ROUND}.train.executor"
    pod = cluster.kubernetes.put_step(submitted, step, **waiting("ContainerCreating", ""))
    cluster.kubernetes.warn(pod, "FailedScheduling", "no node")
    cluster.kubernetes.events[0] |= {"lastTimestamp": None, "eventTime": "2026-01-01T00:00:02Z"}
    cluster.kubernetes.warn(pod, "FailedMount", "no volume")
    cluster.kubernetes.events[1]["lastTimestamp"] = "2026-01-01T00:00:01Z"
    found = namespace_of(cluster.profile).warnings(pod)
    assert found == ["FailedMount: no volume", "FailedScheduling: no node"]


def test_less_access_is_a_shorter_status(cluster: Cluster, submitted: str, monkeypatch):
    cluster.kubernetes.forbidden = {"pods"}
    status = cluster.json("status", RUN)
    assert status["notes"] == [
        "why pods wait is not shown: may not list the pods of namespace lidr (HTTP 403)"
    ]
    monkeypatch.setattr(
        "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", "/absent/kubeconfig"
    )
    assert "neither a kubeconfig" in cluster.json("status", RUN)["notes"][0]


def test_a_log_that_cannot_be_read_hides_no_wait_and_no_failure(cluster: Cluster, submitted: str):
    """The node of a spot machine is gone: its pod is Running for minutes, its log an HTTP 500."""
    set_tasks(
        cluster,
        task(f"{ROUND}.generate", "Running"),
        task(f"{ROUND}.translate", "Running"),
        task(f"{ROUND}.pair", "Failed"),
    )
    kubernetes = cluster.kubernetes
    kubernetes.put_step(submitted, f"{ROUND}.generate.executor", **running("main"))
    stuck = unschedulable("0/9 nodes: 9 Insufficient nvidia.com/gpu.")
    kubernetes.put_step(submitted, f"{ROUND}.translate.executor", **stuck)
    kubernetes.put_step(submitted, f"{ROUND}.pair.executor", **ended("Error", 2, "main"))

    def answered(method: str, path: str) -> bool:
        if path.endswith("/log"):
            raise Refused(500, "InternalError", "dial tcp 10.0.0.9:10250: no route to host")
        return True

    kubernetes.allowed = answered
    status = cluster.json("status", RUN)
    found = rows(status)
    assert found[1, "generate"]["state"] == "running"
    assert "unschedulable, too little nvidia.com/gpu" in found[1, "translate"]["note"]
    assert "Error (exit code 2)" in found[1, "pair"]["note"]
    assert not any("is not shown" in note for note in status["notes"])


def test_logs_that_may_not_be_read_are_told_once(cluster: Cluster, submitted: str):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"), task(f"{ROUND}.pair", "Failed"))
    kubernetes = cluster.kubernetes
    kubernetes.put_step(submitted, f"{ROUND}.generate.executor", **running("main"))
    kubernetes.put_step(submitted, f"{ROUND}.pair.executor", **ended("Error", 2, "main"))
    kubernetes.allowed = lambda method, path: not path.endswith("/log")
    status = cluster.json("status", RUN)
    assert "Error (exit code 2)" in rows(status)[1, "pair"]["note"]
    assert [note for note in status["notes"] if "last words are not shown" in note] == [
        "progress and last words are not shown: may not read the logs of namespace lidr (HTTP 403)"
    ]


@pytest.mark.parametrize("kind", ["TrainJobs", "Workloads"])
def test_a_kind_that_may_not_be_listed_hides_no_other_wait(
    cluster: Cluster, submitted: str, kind: str
):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"), task(f"{ROUND}.translate", "Running"))
    kubernetes = cluster.kubernetes
    queued = kubernetes.put_step(submitted, f"{ROUND}.generate.executor")
    kubernetes.queue_pod(queued, "lidr", "no quota")
    stuck = unschedulable("0/9 nodes: 9 Insufficient nvidia.com/gpu.")
    kubernetes.put_step(submitted, f"{ROUND}.translate.executor", **stuck)
    kubernetes.forbidden = {kind.lower()}
    status = cluster.json("status", RUN)
    assert "too little nvidia.com/gpu" in rows(status)[1, "translate"]["note"]
    (told,) = [note for note in status["notes"] if "is not shown" in note]
    assert told.startswith(
        f"why some pods wait is not shown: may not list {kind} in namespace lidr"
    )


def test_a_run_of_another_version_of_lidr_is_told_of(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    run = cluster.kubeflow.run
    run.description = stamp(recipe, cluster.profile.store, {"version": "0.0.9"})
    assert cluster.json("status", RUN)["notes"][0].startswith("submitted by lidr 0.0.9; this is")


def test_runs_and_schedules_are_listed(cluster: Cluster, submitted: str, monkeypatch):
    monkeypatch.setattr("lidr.pipelines.cluster.client._PAGE_SIZE", 10)
    cluster.lidr("submit", "tiny_world", "--run", "nightly", "--every", "0 3 * * *")
    for number in range(55):
        cluster.kubeflow.runs[f"r{number}"] = type(cluster.kubeflow.runs[submitted])(
            run_id=f"r{number}",
            display_name=f"old-{number}",
            state="FAILED",
            created_at=now() - timedelta(days=1),
            experiment_id=cluster.kubeflow.runs[submitted].experiment_id,
        )
    found = cluster.json("status")
    assert found[0]["kind"] == "schedule, at 0 0 3 * * *"
    assert (found[1]["run"], found[1]["state"], len(found)) == (RUN, "running", 51)
    client = cluster.client
    pages = list(client.list_all("list", "runs", client.runs.run_service_list_runs))
    assert len(pages) == 56
    code, out, _ = cluster.lidr("status")
    assert code == 0 and "nightly" in out
    code, _, err = cluster.lidr("status", "absent")
    assert code == 2 and "no run 'absent' in experiment 'lidr'" in err


def test_cancelling_ends_pods_jobs_and_schedule_and_keeps_what_is_resumable(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    cluster.lidr("submit", "tiny_world", "--run", RUN, "--every", "1d")
    add_job(cluster, "lidr-train-1", submitted)
    add_job(cluster, "of-another-run", "another")
    write_start(cluster, recipe)
    stages = under_way(cluster)
    stages["generate"].finish({})
    stages["translate"].write("translations/en-es/00000.parquet", b"")
    done = cluster.json("cancel", RUN)
    assert (done["ended"], done["jobs"]) == ([submitted], ["lidr-train-1"])
    assert len(done["schedules"]) == 1 and not cluster.kubeflow.recurring
    assert done["kept"] == {"translate": stages["translate"].uri}
    assert cluster.kubeflow.run.state == "CANCELING"
    assert set(cluster.kubernetes.jobs) == {"of-another-run"}

    cluster.kubeflow.run.state = "CANCELED"
    code, out, _ = cluster.lidr("cancel", RUN)
    assert code == 0 and out.startswith("mine: nothing was running\nresumable translate")
    assert cluster.json("cancel", RUN, "--discard")["discarded"] == done["kept"]
    assert not cluster.store.list(stages["translate"].prefix)
    assert stages["generate"].done()
    assert "no run or schedule 'absent'" in cluster.lidr("cancel", "absent")[2]


def test_a_schedule_is_deleted_once_the_run_that_it_has_started_has_ended(
    cluster: Cluster, submitted: str
):
    cluster.lidr("submit", "tiny_world", "--run", "nightly", "--every", "1d")
    (identity,) = cluster.kubeflow.recurring
    run = cluster.kubeflow.run
    run.display_name, run.recurring_run_id = "nightly-x", identity
    there: list[str] = []

    def ends() -> None:
        while run.state != "CANCELING":
            time.sleep(0.01)
        time.sleep(0.3)
        there.extend(each.status for each in cluster.kubeflow.recurring.values())
        run.state = "CANCELED"

    thread = threading.Thread(target=ends)
    thread.start()
    done = cluster.json("cancel", "nightly")
    thread.join()
    assert there == ["DISABLED"], "it was deleted, and with it the Workflow, before the run's end"
    assert (done["ended"], done["schedules"]) == ([submitted], [identity])
    assert not cluster.kubeflow.recurring and not done["notes"]


def test_a_schedule_whose_run_does_not_end_stays_switched_off(
    cluster: Cluster, submitted: str, monkeypatch
):
    cluster.lidr("submit", "tiny_world", "--run", "nightly", "--every", "1d")
    (identity,) = cluster.kubeflow.recurring
    cluster.kubeflow.run.recurring_run_id = identity
    monkeypatch.setattr("lidr.pipelines.cluster.cancel.TIMEOUT_SECONDS", 0.1)
    done = cluster.json("cancel", "nightly", code=1)
    assert done["ended"] == [submitted] and not done["schedules"]
    assert done["notes"] == [
        "its last run has not ended yet, so the schedule was only disabled: cancel again"
    ]
    assert cluster.kubeflow.recurring[identity].status == "DISABLED"
    for more in ((), ("--dry-run",)):
        code, out, err = cluster.lidr(
            "submit", "tiny_world", "--run", "nightly", "--every", "1d", *more
        )
        assert (code, out) == (2, "") and "schedule 'nightly' is switched off" in err
        assert "`lidr cancel nightly` first" in err


def test_a_run_whose_workflow_was_deleted_is_removed_since_it_would_never_end(
    cluster: Cluster, submitted: str
):
    cluster.kubeflow.gone.add(submitted)
    done = cluster.json("cancel", RUN)
    assert not cluster.kubeflow.runs and not done["ended"]
    assert done["notes"] == [
        f"run {submitted} was removed from Kubeflow: its Workflow was deleted, so Kubeflow could "
        "not end it"
    ]
    assert cluster.json("submit", "tiny_world", "--run", RUN)["outcome"] == "created"


def test_a_run_without_a_workflow_stays_until_its_trainjobs_are_deleted(
    cluster: Cluster, submitted: str, monkeypatch
):
    """Nothing else leads to them, and their GPUs."""
    monkeypatch.setattr("lidr.pipelines.cluster.cancel.TIMEOUT_SECONDS", 0.1)
    for name in ("lidr-train-1", "lidr-train-2"):
        add_job(cluster, name, submitted)
    cluster.kubeflow.gone.add(submitted)
    cluster.kubernetes.allowed = lambda method, path: not path.endswith("lidr-train-2")
    done = cluster.json("cancel", RUN, code=1)
    assert (done["removed"], done["jobs"]) == ([], ["lidr-train-1"])
    assert done["notes"][0].startswith("TrainJobs may be left")
    assert done["notes"][1] == f"run {submitted} stays in Kubeflow until its TrainJobs are deleted"
    cluster.kubernetes.allowed = lambda method, path: True
    done = cluster.json("cancel", RUN)
    assert (done["removed"], done["jobs"]) == ([submitted], ["lidr-train-2"])
    assert not cluster.kubeflow.runs and not cluster.kubernetes.jobs


def leave_unfinished(cluster: Cluster, submitted: str, *, asked: float, ended: float) -> None:
    """Cancel a run that Argo leaves unfinished; both happened so many seconds ago."""
    cluster.kubeflow.set_state(cluster.kubeflow.run, "CANCELING")
    moment = datetime.now(UTC) - timedelta(seconds=asked)
    cluster.kubeflow.run.state_history[-1].update_time = moment
    last = (datetime.now(UTC) - timedelta(seconds=ended)).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = json.dumps(read("workflow-cancelled-stuck"))
    cluster.kubeflow.workflows[submitted] = text.replace("2026-12-01T17:15:21Z", last)


def test_a_cancelled_run_that_argo_has_left_unfinished_is_cancelled_and_can_be_resumed(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    write_start(cluster, recipe)
    add_job(cluster, "lidr-train-1", submitted)
    leave_unfinished(cluster, submitted, asked=600, ended=400)
    cluster.kubeflow.run.state_history.append(None)
    found = cluster.json("status", RUN)
    assert found["state"] == "cancelled"
    assert "Argo has left the cancelled run unfinished" in " ".join(found["notes"])
    (listed,) = cluster.json("status")
    assert listed["state"] == "cancelled"
    again = cluster.json("submit", "tiny_world", "--run", RUN)
    assert again["outcome"] == "resumed" and again["run_id"] != submitted
    assert again["note"].endswith("was removed from Kubeflow: Argo had left it unfinished")
    assert not cluster.kubernetes.jobs
    assert list(cluster.kubeflow.runs) == [again["run_id"]]


def test_cancelling_such_a_run_again_removes_it_and_its_trainjobs(cluster: Cluster, submitted: str):
    add_job(cluster, "lidr-train-1", submitted)
    leave_unfinished(cluster, submitted, asked=600, ended=400)
    done = cluster.json("cancel", RUN)
    assert (done["ended"], done["removed"], done["jobs"]) == ([], [submitted], ["lidr-train-1"])
    assert done["notes"] == [
        f"run {submitted} was removed from Kubeflow: Argo had left it unfinished"
    ]
    assert not cluster.kubeflow.runs


def test_a_stuck_run_that_may_not_be_deleted_stays_and_keeps_no_other_from_running(
    cluster: Cluster, submitted: str
):
    leave_unfinished(cluster, submitted, asked=600, ended=400)
    cluster.kubeflow.run.created_at -= timedelta(days=1)
    cluster.kubeflow.undeletable.add(submitted)
    again = cluster.json("submit", "tiny_world", "--run", RUN)
    assert again["outcome"] == "resumed"
    assert set(cluster.kubeflow.runs) == {submitted, again["run_id"]}
    left = f"Argo has left run {submitted} unfinished: may not delete run {RUN}"
    assert again["note"].startswith(left)

    cluster.kubeflow.set_state(cluster.kubeflow.runs[again["run_id"]], "SUCCEEDED")
    third = cluster.json("submit", "tiny_world", "--run", RUN)
    assert third["outcome"] == "resumed"
    ended = "Kubeflow calls the run succeeded, but its result is not on the store"
    assert third["note"].startswith(f"{ended}; {left}")
    code, _, err = cluster.lidr("cancel", RUN)
    assert code == 2 and f"may not delete run {RUN}" in err


def test_a_stuck_run_that_somebody_else_removes_disturbs_nothing(cluster: Cluster, submitted: str):
    def removed(method: str, path: str) -> bool:
        """Take the run away when its TrainJobs are looked for."""
        cluster.kubeflow.runs.pop(submitted, None)
        return True

    leave_unfinished(cluster, submitted, asked=600, ended=400)
    cluster.kubernetes.allowed = removed
    again = cluster.json("submit", "tiny_world", "--run", RUN)
    assert again["outcome"] == "resumed"
    assert again["note"].startswith(f"run {submitted} was removed from Kubeflow")
    assert list(cluster.kubeflow.runs) == [again["run_id"]]
    assert cluster.kubeflow.changes[-2] == ("DELETE", f"/apis/v2beta1/runs/{submitted}")


def test_what_was_removed_is_said_also_where_another_client_s_run_stays(
    cluster: Cluster, submitted: str
):
    def another() -> None:
        """Make another client's run just before ours."""
        first = copy(stuck)
        first.run_id, first.state = "of-another", "RUNNING"
        cluster.kubeflow.runs["of-another"] = first

    leave_unfinished(cluster, submitted, asked=600, ended=400)
    stuck = cluster.kubeflow.run
    stuck.created_at -= timedelta(days=1)
    cluster.kubeflow.before_run = another
    again = cluster.json("submit", "tiny_world", "--run", RUN)
    assert (again["outcome"], again["run_id"]) == ("running", "of-another")
    assert again["note"].startswith(f"run {submitted} was removed from Kubeflow")
    assert list(cluster.kubeflow.runs) == ["of-another"]


def test_a_stuck_run_stays_until_its_trainjobs_are_deleted(
    cluster: Cluster, recipe: Recipe, submitted: str, monkeypatch
):
    """They are found by the ids of the runs that Kubeflow lists."""
    monkeypatch.setattr("lidr.pipelines.cluster.cancel.TIMEOUT_SECONDS", 0.1)
    write_start(cluster, recipe)
    stage = under_way(cluster)["generate"]
    stage.write("responses/en/00000.parquet", b"")
    add_job(cluster, "lidr-train-1", submitted)
    leave_unfinished(cluster, submitted, asked=600, ended=400)
    cluster.kubernetes.forbidden = {"trainjobs"}
    stays = f"run {submitted} stays in Kubeflow until its TrainJobs are deleted"
    done = cluster.json("cancel", RUN, "--discard", code=1)
    assert done["notes"][0].startswith("TrainJobs may be left: may not list TrainJobs")
    assert (done["notes"][1], done["removed"], done["discarded"]) == (stays, [], {})
    again = cluster.json("submit", "tiny_world", "--run", RUN)
    assert again["outcome"] == "resumed" and again["note"].endswith(stays)
    assert submitted in cluster.kubeflow.runs

    cluster.kubernetes.forbidden = set()
    done = cluster.json("cancel", RUN)
    assert (done["removed"], done["jobs"]) == ([submitted], ["lidr-train-1"])
    assert done["ended"] == [again["run_id"]]
    assert list(cluster.kubeflow.runs) == [again["run_id"]]


def test_a_schedule_stays_off_while_a_stuck_run_of_it_stays(
    cluster: Cluster, submitted: str, monkeypatch
):
    monkeypatch.setattr("lidr.pipelines.cluster.cancel.TIMEOUT_SECONDS", 0.1)
    cluster.lidr("submit", "tiny_world", "--run", "nightly", "--every", "1d")
    (identity,) = cluster.kubeflow.recurring
    cluster.kubeflow.run.recurring_run_id = identity
    leave_unfinished(cluster, submitted, asked=600, ended=400)
    cluster.kubernetes.forbidden = {"trainjobs"}
    assert not cluster.json("cancel", "nightly", code=1)["schedules"]
    assert cluster.kubeflow.recurring[identity].status == "DISABLED"
    cluster.kubernetes.forbidden = set()
    done = cluster.json("cancel", "nightly")
    assert (done["removed"], done["schedules"]) == ([submitted], [identity])


@pytest.mark.parametrize(("asked", "ended"), [(600, 20), (20, 600)])
def test_a_cancelled_run_that_argo_may_still_end_is_waited_for(
    cluster: Cluster, submitted: str, asked: float, ended: float
):
    """Its last pod has just ended, or it waited for another attempt when it was cancelled."""
    leave_unfinished(cluster, submitted, asked=asked, ended=ended)
    assert cluster.json("status", RUN)["state"] == "being cancelled"
    assert cluster.json("submit", "tiny_world", "--run", RUN)["outcome"] == "running"
    assert cluster.json("cancel", RUN)["ended"] == [submitted]


def test_a_schedule_whose_run_lost_its_workflow_goes_with_it(cluster: Cluster, submitted: str):
    cluster.lidr("submit", "tiny_world", "--run", "nightly", "--every", "1d")
    (identity,) = cluster.kubeflow.recurring
    cluster.kubeflow.run.recurring_run_id = identity
    cluster.kubeflow.gone.add(submitted)
    done = cluster.json("cancel", "nightly")
    assert done["schedules"] == [identity] and len(done["notes"]) == 1
    assert not cluster.kubeflow.runs and not cluster.kubeflow.recurring


def test_nothing_is_discarded_under_another_run(cluster: Cluster, submitted: str):
    cluster.lidr("submit", "tiny_world", "--run", "second")
    code, _, err = cluster.lidr("cancel", RUN, "--discard")
    assert code == 2 and "run 'second' is under way and may share stages" in err
    assert cluster.kubeflow.runs[submitted].state == "RUNNING"


def test_nothing_is_discarded_that_a_run_of_another_recipe_is_making(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    """A longer loop has the same generate stage."""
    write_start(cluster, recipe)
    made = under_way(cluster)["generate"]
    made.write("responses/en/00000.parquet", b"")
    longer = recipe.model_copy(
        update={"gate": recipe.gate.model_copy(update={"max_iterations": 4})}
    )
    cluster.store.write(recipe_key("longer"), longer.model_dump_json().encode())
    cluster.store.write(state_key("longer", 0), cluster.store.read(state_key(RUN, 0)))
    sent = cluster.lidr("submit", "tiny_world", "--run", "longer", "--set", "gate.max_iterations=4")
    assert sent[0] == 0, sent
    code, _, err = cluster.lidr("cancel", RUN, "--discard")
    assert code == 2 and "run 'longer' is under way and may share stages" in err
    assert cluster.store.list(made.prefix)


def test_a_stranger_s_run_in_the_experiment_does_not_keep_anything(
    cluster: Cluster, recipe: Recipe, submitted: str, monkeypatch
):
    monkeypatch.setattr("lidr.pipelines.cluster.cancel.TIMEOUT_SECONDS", 0.1)
    write_start(cluster, recipe)
    stage = under_way(cluster)["generate"]
    stage.write("responses/en/00000.parquet", b"")
    cluster.lidr("submit", "tiny_world", "--run", "second")
    (other,) = [each for key, each in cluster.kubeflow.runs.items() if key != submitted]
    other.display_name, other.description = "Run of x (ab12c)", "by hand"
    cluster.kubeflow.runs[submitted].state = "CANCELED"
    assert cluster.json("cancel", RUN, "--discard")["discarded"] == {"generate": stage.uri}


def test_a_pruned_stage_that_is_made_again_keeps_its_record(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    write_start(cluster, recipe)
    stage = under_way(cluster)["generate"]
    stage.store.write(stage.key("_PRUNED"), b"{}")
    cluster.kubeflow.run.state = "CANCELED"
    assert cluster.json("cancel", RUN)["kept"] == {}
    stage.write("responses/en/00000.parquet", b"")
    assert cluster.json("cancel", RUN, "--discard")["discarded"] == {"generate": stage.uri}
    assert [entry.key for entry in stage.store.list(stage.prefix)] == [stage.key("_PRUNED")]


def test_a_run_that_is_being_cancelled_can_be_cancelled_again(cluster: Cluster, submitted: str):
    """Kubeflow refuses to terminate it twice; its TrainJobs may have been left."""
    cluster.json("cancel", RUN)
    assert cluster.kubeflow.run.state == "CANCELING"
    add_job(cluster, "lidr-train-1", submitted)
    done = cluster.json("cancel", RUN)
    assert (done["ended"], done["jobs"], done["notes"]) == ([submitted], ["lidr-train-1"], [])


def test_the_stages_of_a_run_on_another_store_are_let_be(
    cluster: Cluster, recipe: Recipe, submitted: str
):
    write_start(cluster, recipe)
    stage = under_way(cluster)["generate"]
    stage.write("responses/en/00000.parquet", b"")
    cluster.kubeflow.run.description = stamp(recipe, "s3://elsewhere/lidr", {})
    done = cluster.json("cancel", RUN, "--discard")
    assert (done["ended"], done["kept"], done["discarded"]) == ([submitted], {}, {})
    assert f"run {RUN!r} is on the store s3://elsewhere/lidr" in done["notes"][0]
    assert cluster.store.list(stage.prefix)


def test_a_schedule_s_run_is_known_by_its_name_on_the_store(
    cluster: Cluster, recipe: Recipe, submitted: str, monkeypatch
):
    write_start(cluster, recipe)
    stage = under_way(cluster)["generate"]
    stage.write("responses/en/00000.parquet", b"")
    cluster.lidr("submit", "tiny_world", "--run", "nightly", "--every", "1d")
    (identity,) = cluster.kubeflow.recurring
    run = cluster.kubeflow.run
    run.display_name, run.recurring_run_id = "nightly-x", identity
    monkeypatch.setattr("lidr.pipelines.cluster.cancel.TIMEOUT_SECONDS", 0.1)
    monkeypatch.setenv(EXECUTION_VARIABLE, submitted)
    note_scheduled(cluster.store, RUN)
    assert cluster.json("cancel", "nightly", code=1)["kept"] == {"generate": stage.uri}


def test_a_run_that_does_not_end_keeps_its_stages(cluster: Cluster, submitted: str, monkeypatch):
    monkeypatch.setattr("lidr.pipelines.cluster.cancel.TIMEOUT_SECONDS", 0.1)
    done = cluster.json("cancel", RUN, "--discard", code=1)
    assert "has not ended yet" in done["notes"][0]


@pytest.mark.parametrize("discard", [(), ("--discard",)])
def test_a_run_is_ended_although_its_files_on_the_store_are_damaged(
    cluster: Cluster, recipe: Recipe, submitted: str, discard: tuple[str, ...]
):
    write_start(cluster, recipe)
    cluster.store.write(recipe_key(RUN), b"{")
    done = cluster.json("cancel", RUN, *discard)
    assert done["ended"] == [submitted] and cluster.kubeflow.run.state == "CANCELING"
    assert f"runs/{RUN}/recipe.json: is not the recipe of a run" in done["notes"][0]


def test_what_may_not_be_cancelled_is_left(cluster: Cluster, submitted: str):
    cluster.kubeflow.readonly = True
    code, _, err = cluster.lidr("cancel", RUN)
    assert code == 2 and "may not terminate run mine" in err
    cluster.kubeflow.readonly = False
    cluster.kubernetes.forbidden = {"trainjobs"}
    assert "TrainJobs may be left" in cluster.json("cancel", RUN, code=1)["notes"][0]


def test_a_schedule_is_made_once(cluster: Cluster, recipe: Recipe):
    arguments = ("submit", "tiny_world", "--run", "nightly", "--every")
    first = cluster.json(*arguments, "6h")
    (made,) = cluster.kubeflow.recurring.values()
    assert made.trigger.periodic_schedule.interval_second == "21600"
    assert (made.max_concurrency, made.no_catchup, made.mode) == ("1", True, "ENABLE")
    (version,) = cluster.kubeflow.versions.values()
    spec = version.pipeline_spec["pipeline_spec"]
    assert spec["pipelineInfo"]["name"] == "lidr-tiny-world-watch"
    watched = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    changed = watched["prepare"]["triggerPolicy"]["condition"]
    assert changed == "inputs.parameter_values['pipelinechannel--check-inputs-Output'] != ''"
    before = {name: task.get("dependentTasks", []) for name, task in watched.items()}
    assert before.pop("check-inputs") == [] and before["prepare"] == ["check-inputs"]
    assert all(before.values()), "every other task is left out with the first"
    assert [name for name, tasks in before.items() if tasks == ["check-inputs"]] == ["prepare"]
    assert cluster.json(*arguments, "6h")["id"] == first["id"]
    code, _, err = cluster.lidr(*arguments, "1d")
    assert code == 2 and "schedule 'nightly' checks every 21600 s, not every 86400 s" in err
    assert "neither an interval nor a cron line" in cluster.lidr(*arguments, "often")[2]
    assert "cannot be combined with --wait" in cluster.lidr(*arguments, "6h", "--wait")[2]
    assert len(cluster.kubeflow.recurring) == 1


def test_a_schedule_of_another_profile_is_refused(cluster: Cluster):
    arguments = ("submit", "tiny_world", "--every", "6h")
    first = cluster.json(*arguments, "--run", "nightly")
    steps = read_yaml(cluster.file.read_text())["steps"]
    cluster.configure(steps=steps | {"control": {"cpu": "1", "memory": "8Gi"}})
    for more in ((), ("--dry-run",)):
        code, _, err = cluster.lidr(*arguments, "--run", "nightly", *more)
        assert code == 2
        assert "'nightly' runs another pipeline than recipe and profile give now" in err
        assert "`lidr cancel nightly` first" in err
    cluster.json(*arguments, "--run", "weekly")  # uploads the other pipeline
    assert "runs another pipeline" in cluster.lidr(*arguments, "--run", "nightly")[2]
    cluster.configure(steps=steps, service_account="another")
    said = cluster.lidr(*arguments, "--run", "nightly")[2]
    assert "'nightly' runs as 'lidr-pipeline', not as 'another'" in said
    cluster.configure(service_account="lidr-pipeline")
    assert cluster.json(*arguments, "--run", "nightly")["id"] == first["id"]


@pytest.mark.parametrize(
    ("status", "words"), [("ENABLED", ""), ("DISABLED", "schedule 'nightly' is switched off")]
)
def test_a_schedule_that_another_client_made_first_stays_and_is_checked(
    cluster: Cluster, monkeypatch, status: str, words: str
):
    create = recurring._create

    def create_second(*given: Any) -> Any:
        first = create(*given)
        first = cluster.kubeflow.recurring[first.recurring_run_id]
        first.created_at, first.status = now() - timedelta(seconds=5), status
        return create(*given)

    monkeypatch.setattr(recurring, "_create", create_second)
    code, _, err = cluster.lidr("submit", "tiny_world", "--run", "nightly", "--every", "6h")
    assert code == (2 if words else 0) and words in err
    assert [each.status for each in cluster.kubeflow.recurring.values()] == [status]


def test_a_schedule_that_is_cancelled_at_once_is_no_error(cluster: Cluster, monkeypatch):
    create = recurring._create

    def create_and_cancel(*given: Any) -> Any:
        made = create(*given)
        cluster.kubeflow.recurring.clear()
        return made

    monkeypatch.setattr(recurring, "_create", create_and_cancel)
    assert cluster.json("submit", "tiny_world", "--run", "nightly", "--every", "6h")["id"]


def test_a_schedule_that_is_gone_already_is_deleted_without_an_error(cluster: Cluster):
    cluster.lidr("submit", "tiny_world", "--run", "nightly", "--every", "6h")
    (found,) = recurring.list_schedules(cluster.client, "lidr")
    for _ in range(2):  # as when the answer to the first DELETE was lost
        recurring.delete(cluster.client, found)
    assert not cluster.kubeflow.recurring
