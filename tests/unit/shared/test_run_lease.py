"""The lease of a run: one execution at a time, on this machine, on others, and on a cluster."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lidr.components.shared import run_lease as module
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.core.events import EVENTS_VARIABLE, listening
from lidr.components.shared.kubernetes import runs
from lidr.components.shared.run_lease import run_lease, task_lease
from lidr.components.shared.step import step
from lidr.components.shared.store.lease import LeaseHead
from tests.kubernetes_api import NAMESPACE, KubernetesApi, running, serve

CODE = """
import sys, time
from lidr.components.shared import run_lease as module
module.LEASE_SECONDS = float(sys.argv[2])
with module.run_lease(sys.argv[1], "mine") as lease:
    print("held", flush=True)
    while not lease.lost:
        time.sleep(0.02)
    print("lost", flush=True)
    module.require_held(lease, "mine")
"""


@contextmanager
def holder(store: Path, seconds: float, *before: str) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds the run's lease until it loses it."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", CODE, str(store), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "held\n", process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def elsewhere(monkeypatch):
    """This process is on another machine than all others."""
    monkeypatch.setattr(module, "machine_id", lambda: "elsewhere")


def test_a_second_execution_is_told_who_the_first_one_is(tmp_path):
    with holder(tmp_path, 60) as process:
        began = time.monotonic()
        with pytest.raises(BadInput) as refused, run_lease(str(tmp_path), "mine"):
            pass
        assert time.monotonic() - began < 5
        with run_lease(str(tmp_path), "another"):
            pass
    text = str(refused.value)
    assert f"process {process.pid} of " in text
    assert f" on {os.uname().nodename}, since 20" in text
    assert "its lease ends 60 s later" in text
    assert "choose another --run" in text


def test_a_killed_holder_on_this_machine_is_followed_at_once(tmp_path):
    with holder(tmp_path, 60) as process:
        process.kill()
        process.wait()
        began = time.monotonic()
        with run_lease(str(tmp_path), "mine") as lease:
            assert lease.number == 2
        assert time.monotonic() - began < 5


def test_an_id_that_was_given_to_another_process_is_no_holder(tmp_path, monkeypatch):
    with holder(tmp_path, 60):
        monkeypatch.setattr(module, "_started", lambda process: "another time")
        with run_lease(str(tmp_path), "mine") as lease:
            assert lease.number == 2


def test_a_living_holder_elsewhere_is_seen_renewing(tmp_path, elsewhere):
    with (
        holder(tmp_path, 2),
        pytest.raises(BadInput, match="already being executed"),
        run_lease(str(tmp_path), "mine"),
    ):
        pass


def test_a_dead_holder_elsewhere_keeps_it_as_long_as_it_lasts(tmp_path, elsewhere):
    with holder(tmp_path, 1.5) as process:
        process.kill()
        process.wait()
        began = time.monotonic()
        with run_lease(str(tmp_path), "mine") as lease:
            assert lease.number == 2
            assert 1.5 < time.monotonic() - began < 6


def test_who_slept_too_long_learns_that_it_was_replaced(tmp_path, elsewhere):
    with holder(tmp_path, 1) as process:
        process.send_signal(signal.SIGSTOP)
        with run_lease(str(tmp_path), "mine"):
            process.send_signal(signal.SIGCONT)
            out, errors = process.communicate(timeout=20)
    assert out == "lost\n"
    assert "was taken over by another execution" in errors


def test_clocks_that_differ_by_years_do_no_harm(tmp_path, elsewhere):
    before = ["unshare", "--time", "--monotonic", "100000000", "--boottime", "100000000"]
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user cannot make a time namespace")
    with holder(tmp_path, 2, *before, "--fork") as process:
        with pytest.raises(BadInput, match="already"), run_lease(str(tmp_path), "mine"):
            pass
        subprocess.run(["pkill", "-9", "-P", str(process.pid)], check=True)
        with run_lease(str(tmp_path), "mine") as lease:
            assert lease.number == 2


def test_what_is_no_lease_runs_out(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LEASE_SECONDS", 0.3)
    broken = tmp_path / "runs/mine/lease/000000000007.json"
    broken.parent.mkdir(parents=True)
    for text in (b"", b"{", b"[]", b'{"seconds": NaN}', b'{"identity": "x", "seconds": 1e9}'):
        for old in broken.parent.iterdir():
            old.unlink()
        broken.write_bytes(text)
        with run_lease(str(tmp_path), "mine") as lease:
            assert lease.number == 8


def test_tasks_of_one_kfp_run_share_it_and_another_run_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TASK_LEASE_SECONDS", 1.0)

    def task(name: str, execution: str):
        return task_lease(name, str(tmp_path), "mine", execution)

    with task("generate", "first"), task("generate", "first"):
        pass
    with task("train", "first"):
        monkeypatch.setattr(module, "machine_id", lambda: "another pod")
        with pytest.raises(BadInput, match="already being executed"), task("prepare", "second"):
            pass
        with task("train", "first"):  # its retry
            pass
    began = time.monotonic()
    with task("prepare", "second"):
        assert time.monotonic() - began > 1.0
        with pytest.raises(BadInput, match="already being executed"), task("pair", "first"):
            pass
    with task("report", "second"):
        pass
    began = time.monotonic()
    with task("prepare", "third"):
        assert time.monotonic() - began < 0.9, "the last step gives it back"


def test_a_task_whose_run_was_taken_over_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TASK_LEASE_SECONDS", 0.5)
    with (
        pytest.raises(LidrError, match="was taken over"),
        task_lease("train", str(tmp_path), "mine", "first"),
    ):
        taken = tmp_path / "runs/mine/lease/000000000002.json"
        taken.write_text("{}")
        time.sleep(0.5)


def test_a_step_of_a_kfp_run_takes_it_and_one_of_lidr_run_does_not(tmp_path, monkeypatch):
    @step("state")
    def work(store: str, run: str) -> int:
        return len(list(Path(store).glob(f"runs/{run}/lease/*")))

    monkeypatch.setenv("KFP_RUN_ID", "an-id")
    monkeypatch.delenv(EVENTS_VARIABLE, raising=False)
    assert work(store=str(tmp_path), run="mine") == 1
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events"))
    assert work(store=str(tmp_path), run="other") == 0
    assert re.search("an-id", (tmp_path / "runs/mine/lease/000000000001.json").read_text())


def be_account(uid: str) -> None:
    """Give this pod a token as Kubernetes issues them, of a service account."""
    names = {"namespace": NAMESPACE, "serviceaccount": {"name": "lidr-pipeline", "uid": uid}}
    claims = json.dumps({"iss": "https://kubernetes.default.svc", "kubernetes.io": names}).encode()
    parts = (b'{"alg":"RS256"}', claims, b"signature")
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
    (runs._ACCOUNT / "token").write_text(".".join(encoded))


@pytest.fixture
def pod(tmp_path, monkeypatch) -> Iterator[KubernetesApi]:
    """This process is in a pod of a cluster whose API server it may ask."""
    account = tmp_path / "account"
    account.mkdir()
    for name, text in (("namespace", NAMESPACE), ("ca.crt", "of this cluster")):
        (account / name).write_text(text)
    monkeypatch.setattr(runs, "_ACCOUNT", account)
    be_account("uid-of-the-account")
    monkeypatch.setattr(module, "machine_id", lambda: "")  # pods do not see each other's processes
    with serve() as api:
        monkeypatch.setattr(runs, "_server", lambda: api.url)
        yield api


def workflow(api: KubernetesApi, run: str, phase: str) -> None:
    """Put a Workflow as Argo labels it."""
    labels = {"pipeline/runid": run, "workflows.argoproj.io/phase": phase}
    if phase != "Running":
        labels["workflows.argoproj.io/completed"] = "true"
    api.workflows[f"lidr-{run}"] = {"metadata": {"name": f"lidr-{run}", "labels": labels}}


def died(store: Path, run: str) -> None:
    """Leave a lease as a run does whose exit task never ran."""
    with task_lease("train", str(store), "mine", run):
        pass


@pytest.mark.parametrize("phase", ["Failed", "Succeeded", "Error", ""])
def test_the_lease_of_a_run_that_the_cluster_knows_as_ended_is_taken_at_once(pod, tmp_path, phase):
    if phase:
        workflow(pod, "first", phase)
    pod.put_step("first", "root.train.executor", phase="Failed")
    died(tmp_path, "first")
    heard: list[dict[str, object]] = []
    began = time.monotonic()
    with listening(heard.append), task_lease("prepare", str(tmp_path), "mine", "second"):
        pass
    assert time.monotonic() - began < 5
    [note] = [str(event["message"]) for event in heard]
    assert note == "Kubeflow run first, which has the run's lease, has ended: it is taken over"


def _between_two_tasks(api: KubernetesApi) -> None:
    workflow(api, "first", "Running")


def _exit_task_runs(api: KubernetesApi) -> None:
    workflow(api, "first", "Failed")
    api.put_step("first", "root.cleanup.executor", **running("main"))


def _pod_waits_for_a_node(api: KubernetesApi) -> None:
    workflow(api, "first", "Failed")
    api.put_step("first", "root.train.executor", phase="Pending")


def _no_right(api: KubernetesApi) -> None:
    workflow(api, "first", "Failed")
    api.forbidden.add("workflows")


def _no_answer(api: KubernetesApi) -> None:
    api.failing = 503


@pytest.mark.parametrize(
    "state",
    [_between_two_tasks, _exit_task_runs, _pod_waits_for_a_node, _no_right, _no_answer],
    ids=lambda each: each.__name__,
)
def test_the_lease_of_a_run_that_may_live_is_watched(pod, tmp_path, monkeypatch, state):
    monkeypatch.setattr(module, "TASK_LEASE_SECONDS", 1.0)
    died(tmp_path, "first")
    state(pod)
    began = time.monotonic()
    with task_lease("prepare", str(tmp_path), "mine", "second"):
        assert time.monotonic() - began > 1.0


def _another_authority() -> None:
    (runs._ACCOUNT / "ca.crt").write_text("of another cluster, which has no such run")


def _shared_authority() -> None:
    be_account("uid-of-another-cluster-s-account")


@pytest.mark.parametrize(
    "move", [_another_authority, _shared_authority], ids=lambda each: each.__name__
)
def test_a_lease_that_another_cluster_knows_of_is_watched(pod, tmp_path, monkeypatch, move):
    monkeypatch.setattr(module, "TASK_LEASE_SECONDS", 1.0)
    died(tmp_path, "first")
    move()
    began = time.monotonic()
    with task_lease("prepare", str(tmp_path), "mine", "second"):
        assert time.monotonic() - began > 1.0
    assert not pod.requests


@pytest.mark.parametrize("token", ["", "t", "a.b.c", "a.W10.c", "a.e30.c", "a.\x00.c"])
def test_a_token_that_names_no_account_tells_no_cluster(pod, token):
    assert runs.cluster_id()
    (runs._ACCOUNT / "token").write_text(token)
    assert runs.cluster_id() == ""


@pytest.mark.parametrize(
    ("spec", "cancelled"),
    [({"activeDeadlineSeconds": 0}, True), ({"activeDeadlineSeconds": 3600}, False), ({}, False)],
)
def test_a_run_with_a_deadline_of_zero_was_cancelled(pod, spec, cancelled):
    workflow(pod, "first", "Running")
    pod.workflows["lidr-first"]["spec"] = spec
    assert runs.was_cancelled("lidr", "first") is cancelled
    assert not runs.was_cancelled("lidr", "second")
    _no_right(pod)
    assert not runs.was_cancelled("lidr", "first"), "who may not ask does not know"


def test_a_lease_names_no_path_to_ask_for(pod):
    for namespace, run in (("../../x", "first"), ("lidr", "a/b"), ("lidr", "x,y=z"), ("", "")):
        assert not runs.has_ended(namespace, run)
        assert not runs.was_cancelled(namespace, run)
    assert not pod.requests


def test_a_lease_is_watched_again_after_the_store_was_away(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("lidr.components.shared.store.lease.time.monotonic", lambda: clock[0])
    watch = module._Watch(LeaseHead(1, False, ()), b"text", 60.0)
    clock[0] = 300.0
    assert not watch.ran_out(b"text", asked=1.0), "this look took the whole outage"
    clock[0] = 330.0
    assert not watch.ran_out(b"text", asked=329.0)
    clock[0] = 361.0
    assert watch.ran_out(b"text", asked=360.5)
