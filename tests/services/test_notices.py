"""lidr notify: Kubeflow, Kubernetes, the store and a chat, all over HTTP."""

from __future__ import annotations

import copy
import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LaunchFailed
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.runs import note_failure
from lidr.pipelines.notices.delivery import enqueue
from lidr.pipelines.notices.metrics import PRUNED, exposition, serve
from lidr.pipelines.notices.monitor import ObservedRun, RunMonitor
from lidr.pipelines.notices.notice import Notice
from tests.kfp_api import now
from tests.kubernetes_api import running, unschedulable
from tests.receivers import Receiver, receiving
from tests.services.kubeflow import Cluster, write_end
from tests.services.workflows import LOOP, ROUND, RUN, set_tasks, task
from tests.usages import plant_usage

SOON = time.time()


@pytest.fixture
def receiver(monkeypatch) -> Iterator[Receiver]:
    with receiving() as made:
        monkeypatch.setenv("LIDR_NOTIFY_URL", made.url)
        yield made


def look(cluster: Cluster, receiver: Receiver, minutes: float = 0.0) -> list[ObservedRun]:
    """Look as a process does that has just been started."""
    return RunMonitor(cluster.profile, receiver.url).check(SOON + minutes * 60)


def test_wait_is_told_once_by_whoever_looks(cluster: Cluster, submitted: str, receiver: Receiver):
    cluster.configure(notify={"waiting_minutes": 30})
    set_tasks(cluster, task(f"{LOOP}.prepare"), task(f"{ROUND}.generate", "Running"))
    status = unschedulable("0/3 nodes are available: 3 Insufficient nvidia.com/gpu. <!here>")
    cluster.kubernetes.put_step(submitted, f"{ROUND}.generate.executor", **status)
    assert look(cluster, receiver)[0].steps[0].row.state == "waiting"
    for minutes in (10, 31, 32, 50):
        look(cluster, receiver, minutes)
    assert receiver.texts == [
        "lidr: M_1 generate of run mine has waited for 31 minutes: unschedulable, too little "
        "nvidia.com/gpu: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu. ‹!here›."
    ]


def test_step_that_stands_still_is_told_and_one_that_moves_is_not(
    cluster: Cluster, submitted: str, receiver: Receiver
):
    cluster.configure(notify={"silent_minutes": 20})
    set_tasks(cluster, task(f"{ROUND}.generate", "Running", seconds=60))
    pod = cluster.kubernetes.put_step(submitted, f"{ROUND}.generate.executor", **running("main"))
    said = "lidr progress step=generate done={} total=90 unit=requests rate=5 rate_unit=tokens"
    for minutes, done in ((0, 10), (15, 20), (30, 30), (45, 30), (51, 30), (60, 30)):
        cluster.kubernetes.print(pod, said.format(done))
        look(cluster, receiver, minutes)
    assert receiver.texts == [
        "lidr: M_1 generate of run mine has made no progress for 21 minutes, at 30 of 90 requests."
    ]


def test_run_on_another_store_is_left_to_the_notices_of_that_store(
    cluster: Cluster, submitted: str, receiver: Receiver, tmp_path
):
    end(cluster, "SUCCEEDED")
    assert [each.run for each in look(cluster, receiver)] == [RUN]
    cluster.configure(store=str(tmp_path / "another"))
    assert look(cluster, receiver) == []


def end(cluster: Cluster, state: str) -> None:
    cluster.end_run(state)
    cluster.kubeflow.run.finished_at = now()


def test_failure_whose_exit_task_was_killed_is_told_once(
    cluster: Cluster, submitted: str, receiver: Receiver, monkeypatch
):
    set_tasks(cluster, task(f"{ROUND}.train", "Failed", message="main: Error (exit code 1)"))
    monkeypatch.setenv("KFP_RUN_ID", submitted)
    note_failure(cluster.store, RUN, "train", 1, LaunchFailed("no machine was found"))
    end(cluster, "FAILED")
    assert [each.state for each in look(cluster, receiver)] == ["failed"]
    look(cluster, receiver, 5)
    assert receiver.texts == [
        "lidr: run mine has failed at M_1 train: no machine was found. `lidr submit RECIPE --run "
        "mine` resumes it."
    ]


def test_end_that_waits_for_its_receiver_is_sent_at_a_later_look(
    cluster: Cluster, submitted: str, recipe: Recipe, receiver: Receiver
):
    write_end(cluster.store, recipe, RUN)
    scores = {"average": {"value": 0.5}, "version": "t/1", "promoted": True, "reason": "well"}
    scores |= {"decision": "promote"}
    models = [{**scores, "iteration": t, "verdict": "stop"} for t in (0, 1)]
    result = {"iterations": models, "final_model": "m", "report": "s3://b/report.html"}
    cluster.store.write(f"runs/{RUN}/result.json", json.dumps(result).encode())
    end(cluster, "SUCCEEDED")
    receiver.status = 500
    assert [(each.state, each.unsent) for each in look(cluster, receiver)] == [("done", 1)]
    receiver.status = 200
    assert [each.unsent for each in look(cluster, receiver, 1)] == [0]
    look(cluster, receiver, 2)
    assert len(receiver.received) == 2 and len(receiver.texts) == 1
    assert receiver.texts[0].startswith("lidr: run mine has ended.")


def test_run_that_ended_long_ago_or_cannot_be_read_is_left_alone(
    cluster: Cluster, submitted: str, recipe: Recipe, receiver: Receiver, capsys
):
    write_end(cluster.store, recipe, RUN)  # its result has no numbers
    end(cluster, "SUCCEEDED")
    assert look(cluster, receiver) == []
    assert "run mine cannot be checked: KeyError" in capsys.readouterr().err
    assert look(cluster, receiver, 25 * 60) == []
    assert receiver.received == []


def add_run(cluster: Cluster, name: str, days: float, **changes: object) -> None:
    """Add a copy of the submitted run that was created so many days later."""
    made = copy.copy(next(iter(cluster.kubeflow.runs.values())))
    made.run_id, made.display_name = f"id-of-{name}-{days}", name
    made.created_at += timedelta(days=days)
    for key, value in changes.items():
        setattr(made, key, value)
    cluster.kubeflow.runs[made.run_id] = made


def test_run_of_days_is_checked_however_many_newer_ones_there_are(
    cluster: Cluster, submitted: str, receiver: Receiver
):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"))
    long_ago = now() - timedelta(days=2)
    for number in range(120):  # more than Kubeflow's page, and than `lidr status` shows
        days = (number + 1) / 100
        add_run(cluster, f"other-{number}", days, state="SUCCEEDED", finished_at=long_ago)
    assert [each.run for each in look(cluster, receiver)] == [RUN]
    assert look(cluster, receiver, 29 * 24 * 60) == [], "it was created over four weeks ago"


def test_result_without_iterations_ends_no_other_run_s_check(
    cluster: Cluster, submitted: str, recipe: Recipe, receiver: Receiver, capsys
):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"))
    write_end(cluster.store, recipe, "broken")
    result = {"iterations": [], "final_model": "m", "report": "s3://b/report.html"}
    cluster.store.write("runs/broken/result.json", json.dumps(result).encode())
    add_run(cluster, "broken", 0.01, state="SUCCEEDED", finished_at=now())
    assert [each.run for each in look(cluster, receiver)] == [RUN]
    assert "run broken cannot be checked: IndexError" in capsys.readouterr().err


def test_damaged_record_of_gpu_time_hides_only_the_gpu_hours(
    cluster: Cluster, submitted: str, receiver: Receiver, capsys
):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"))
    cluster.store.write(f"runs/{RUN}/usage/1-train-ab.json", b"{")
    (seen,) = look(cluster, receiver)
    assert (seen.state, len(seen.steps), seen.gpu_hours) == ("running", 1, None)
    text = exposition([seen], SOON, cluster.store)
    assert "lidr_run_state{" in text and "lidr_run_gpu_hours" not in text
    said = capsys.readouterr().err
    assert "run mine: its GPU hours are not known: " in said and "1-train-ab.json" in said


def test_run_that_will_soon_be_too_old_to_be_checked_is_told_once(
    cluster: Cluster, submitted: str, receiver: Receiver, capsys
):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"))
    monitor = RunMonitor(cluster.profile, receiver.url)
    for days, said in ((26, 0), (27.5, 1), (27.6, 0)):
        assert len(monitor.check(SOON + days * 86400)) == 1
        assert capsys.readouterr().err.count("mine is still live on its last day") == said


def test_files_that_vanish_during_a_check_end_no_other_run_s(
    cluster: Cluster, submitted: str, receiver: Receiver, capsys
):
    """A user removes an ended run's folder while its notices are sent."""
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"))
    add_run(cluster, "gone", 0.01, state="FAILED", finished_at=now())
    enqueue(cluster.store, Notice("gone", "waits", "train", "lidr: train has waited."))

    def remove() -> None:
        for entry in cluster.store.list("runs/gone"):
            cluster.store.delete(entry.key)

    receiver.before = remove
    assert [each.run for each in look(cluster, receiver)] == [RUN]
    assert len(receiver.received) == 1
    assert "run gone cannot be checked: FileNotFoundError" in capsys.readouterr().err


def test_newer_run_of_the_name_on_another_store_hides_none(
    cluster: Cluster, submitted: str, receiver: Receiver
):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"))
    stamp = cluster.kubeflow.run.description.rpartition("store ")[0]
    add_run(cluster, RUN, 0.01, description=f"{stamp}store s3://another/store")
    assert [each.run for each in look(cluster, receiver)] == [RUN]


@pytest.mark.parametrize(
    ("older", "newer", "checked"),
    [
        ("RUNNING", "CANCELED", "older"),
        ("CANCELING", "RUNNING", "newer"),  # the older one may stay so for good
        ("CANCELING", "FAILED", "newer"),
    ],
)
def test_of_several_runs_of_a_name_the_one_that_lives_is_checked(
    cluster: Cluster, submitted: str, receiver: Receiver, older: str, newer: str, checked: str
):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"))
    add_run(cluster, RUN, 0.01, state=newer, finished_at=None if newer == "RUNNING" else now())
    next(iter(cluster.kubeflow.runs.values())).state = older
    ids = {"older": submitted, "newer": f"id-of-{RUN}-0.01"}
    chosen = [run.run_id for run in RunMonitor(cluster.profile, receiver.url)._runs(SOON)]
    assert chosen == [ids[checked]]
    (seen,) = look(cluster, receiver)
    assert seen.state == ("failed" if newer == "FAILED" else "running")


def test_one_look_from_the_command_line(cluster: Cluster, submitted: str, receiver: Receiver):
    set_tasks(cluster, task(f"{LOOP}.prepare", "Running"))
    code, out, err = cluster.lidr("notify")
    assert (code, out) == (0, f"{RUN} running\n")
    assert receiver.url not in err


def test_metrics_are_what_prometheus_reads(cluster: Cluster, submitted: str, receiver: Receiver):
    set_tasks(cluster, task(f"{ROUND}.generate", "Running"))
    status = unschedulable("no room")
    cluster.kubernetes.put_step(submitted, f"{ROUND}.generate.executor", **status)
    plant_usage(cluster.store, RUN, 1, hours=2.5)
    found = {"time": 1.0, "bytes": 7, "stages": 2, "versions": 1, "dry_run": True}
    cluster.store.write(PRUNED, json.dumps(found).encode())
    look(cluster, receiver)
    looks, now_ = look(cluster, receiver, 10), SOON + 600
    server = serve(0, lambda: exposition(looks, now_, cluster.store))
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics") as answer:
        text = answer.read().decode()
    server.shutdown()
    server.server_close()
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["lidr_run_state", RUN, "running"] == 1.0
    assert samples["lidr_run_state", "failed", RUN] == 0.0
    assert samples["lidr_step_waiting_seconds", "M_1 generate", RUN] == pytest.approx(600.0)
    assert samples["lidr_run_gpu_hours", RUN] == 2.5
    assert samples["lidr_prune_bytes",] == 7.0
    assert samples["lidr_prune_dry_run",] == 1.0


def test_labels_are_escaped():
    text = exposition([ObservedRun('a"b\\c\nd', "running")], 0.0, _Empty())
    (family,) = [
        each for each in text_string_to_metric_families(text) if each.name == "lidr_run_gpu_hours"
    ]
    assert family.samples[0].labels == {"run": 'a"b\\c\nd'}


@pytest.mark.parametrize("data", [b"", b"[]", b"[" * 100_000, b'{"bytes": NaN, "stages": "2"}'])
def test_metrics_leave_out_the_numbers_of_a_prune_that_were_damaged(tmp_path, data):
    store = LocalStore(tmp_path)
    store.write(PRUNED, data)
    text = exposition([], 5.0, store)
    assert "lidr_last_check_timestamp_seconds 5\n" in text
    assert "lidr_prune" not in text


def test_metrics_are_explained(tmp_path):
    store = LocalStore(tmp_path)
    store.write(PRUNED, json.dumps({"time": 3, "dry_run": False}).encode())
    text = exposition([], 5.0, store)
    assert "# HELP lidr_prune_time When lidr prune was last run.\n" in text
    assert "# HELP lidr_prune_dry_run 1 if the last lidr prune was a dry run" in text


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_metrics_are_served_on_both_versions_of_ip(host):
    if host == "[::1]" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    server = serve(0, lambda: "here")
    try:
        with urllib.request.urlopen(f"http://{host}:{server.server_port}/metrics") as answer:
            assert answer.read() == b"here"
    finally:
        server.shutdown()
        server.server_close()


class _Empty:
    def read(self, key: str) -> bytes:
        raise FileNotFoundError(key)
