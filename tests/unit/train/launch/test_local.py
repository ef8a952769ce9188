"""The local launcher with real torchrun; ranks.py stands for the trainer program."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lidr.components.shared.core import cgroups
from lidr.components.shared.core.errors import (
    BadInput,
    LaunchFailed,
    LidrError,
    Stopped,
    TrainingFailed,
)
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.core.processes import marked_pids
from lidr.components.shared.kubernetes.failure import failure_of
from lidr.components.shared.kubernetes.launch import Launch, Placement
from lidr.components.shared.step import step
from lidr.components.train.job import TrainingJob
from lidr.components.train.launch import launcher_of, local
from lidr.components.train.launch.exchange import exchange_of
from lidr.components.train.launch.local import LocalLauncher, node_command
from lidr.components.train.launch.node import SHUTDOWN_VARIABLE
from tests.kubernetes_api import wait_until
from tests.unit.train.launch import jobs

PROGRAM = ("--program", "tests.unit.train.launch.ranks")


@pytest.fixture
def job(tmp_path: Path) -> TrainingJob:
    return jobs.make_job(tmp_path / "store")


def behave(monkeypatch: pytest.MonkeyPatch, **ranks: str) -> None:
    monkeypatch.setenv("RANKS", json.dumps({key[1:]: value for key, value in ranks.items()}))


def test_one_process_is_this_one(monkeypatch: pytest.MonkeyPatch, job: TrainingJob):
    monkeypatch.setattr(local, "run_training", lambda job: jobs.SUMMARY)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert launcher_of(Launch(), Placement()).run(job) == jobs.SUMMARY


@pytest.mark.usefixtures("warm_python")
def test_two_processes_give_back_a_summary(monkeypatch, tmp_path: Path, job: TrainingJob, capfd):
    events = tmp_path / "events.jsonl"
    monkeypatch.setenv(EVENTS_VARIABLE, str(events))
    summary = step("train")(lambda iteration: LocalLauncher(2, *PROGRAM).run(job))(iteration=1)
    assert summary == jobs.SUMMARY
    said = capfd.readouterr().out
    assert "[rank0] hello from rank 0 of 2" in said
    assert "rank 1" not in said
    told = [json.loads(line) for line in events.read_text().splitlines()]
    (progress,) = [event for event in told if event["event"] == "progress"]
    assert (progress["step"], progress["total"]) == ("train", 2)


def test_the_ranks_share_the_cores_that_they_may_use(
    monkeypatch, tmp_path: Path, job: TrainingJob, capfd
):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    behave(monkeypatch, r0="threads")
    assert LocalLauncher(2, *PROGRAM).run(job) == jobs.SUMMARY
    assert "[rank0] 3 threads" in capfd.readouterr().out


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize(
    ("how", "kind", "said", "code"),
    [
        (
            "refuse",
            BadInput,
            r"^pairs.parquet:3: the pairs are empty \(rank 1\)\. Mend",
            65,
        ),
        ("diverge", TrainingFailed, r"^the loss is NaN in pairs p1, p2 \(rank 1\)\.$", 70),
        ("die", LaunchFailed, r"rank 1 was killed by SIGKILL; .*\n  hello from rank 1 of 2\n", 1),
        ("crash", LaunchFailed, r"rank 1 exited with 1; (.|\n)*RuntimeError: something unfor", 1),
    ],
)
def test_a_rank_s_failure_is_this_step_s(
    monkeypatch, job: TrainingJob, how: str, kind: type[LidrError], said: str, code: int
):
    behave(monkeypatch, r0="hang", r1=how)
    codes = []
    run_node = LocalLauncher._run_node
    monkeypatch.setattr(
        LocalLauncher, "_run_node", lambda self, job: codes.append(run_node(self, job)) or codes[0]
    )
    with pytest.raises(kind, match=said) as raised:
        LocalLauncher(2, *PROGRAM).run(job)
    assert type(raised.value) is kind
    assert codes == [code], "the container's exit code, for podFailurePolicy"


@pytest.mark.usefixtures("warm_python")
def test_a_later_attempt_forgets_the_failure(monkeypatch, job: TrainingJob):
    behave(monkeypatch, r1="refuse")
    with pytest.raises(BadInput):
        LocalLauncher(2, *PROGRAM).run(job)
    behave(monkeypatch)
    assert LocalLauncher(2, *PROGRAM).run(job) == jobs.SUMMARY


def start(job: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> subprocess.Popen[bytes]:
    behave(monkeypatch, r0="hang", r1="hang")
    code = (
        "from tests.unit.train.launch import jobs; from pathlib import Path;"
        "from lidr.components.train.launch.local import LocalLauncher;"
        f"LocalLauncher(2, *{PROGRAM!r}).run(jobs.make_job(Path({job.store!r})))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "MARK": job.store},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert b"hello from rank 0" in process.stdout.readline()
    assert len(marked_pids("MARK", job.store)) == 4, "launcher, torchrun and two ranks"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_launcher(monkeypatch, job: TrainingJob, number: signal.Signals):
    process = start(job, monkeypatch)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    wait_until(lambda: marked_pids("MARK", job.store) == [])


@pytest.mark.usefixtures("warm_python")
def test_nodes_that_do_not_see_the_store_say_so(tmp_path: Path):
    command = node_command(str(tmp_path), "stages/train/absent", 2)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 65
    assert f"no job at {tmp_path}/stages/train/absent. Give the nodes a store" in done.stderr


@pytest.mark.usefixtures("warm_python")
def test_a_node_that_never_comes_is_waited_for_and_named(job: TrainingJob):
    exchange_of(job).publish(job)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = {f"PET_{name}": value for name, value in place.items()}
    done = subprocess.run(
        node_command(job.store, job.stage, 1),
        env={**os.environ, **ranks, "LIDR_RANKS_TIMEOUT": "2"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    said = f"not all 2 nodes reached 127.0.0.1:{port} within 2 s"
    assert said in done.stderr
    assert done.returncode == 1, "it may come another time"
    failure = exchange_of(job).failure()
    assert failure is not None and said in str(failure.as_error())


@pytest.mark.usefixtures("warm_python")
@pytest.mark.parametrize(("how", "code"), [("stop", 143), ("hang", 1)])
def test_a_node_has_stopped_if_its_ranks_have(monkeypatch, job: TrainingJob, how: str, code: int):
    """Of a rank that hangs the last checkpoint is missing."""
    behave(monkeypatch, r0=how)
    exchange_of(job).publish(job)
    command = node_command(job.store, job.stage, 1, "--alone", *PROGRAM)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as node:
        assert node.stdout is not None
        while "waiting" not in node.stdout.readline():
            assert node.poll() is None
        node.send_signal(signal.SIGTERM)
        _, said = node.communicate(timeout=60)
    assert node.returncode == code
    assert ("1 of 1 ranks wrote no last checkpoint within 30 s" in said) == (code == 1)


@pytest.mark.usefixtures("warm_python")
def test_a_time_to_stop_that_is_no_number_is_refused(job: TrainingJob):
    exchange_of(job).publish(job)
    done = subprocess.run(
        node_command(job.store, job.stage, 1),
        env={**os.environ, SHUTDOWN_VARIABLE: "1m"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 65
    assert f"{SHUTDOWN_VARIABLE} is '1m'. Set it to whole seconds: 5 less than" in done.stderr


def test_a_run_that_was_asked_to_end_says_so_with_its_exit_code():
    failure = failure_of(Stopped("training was asked to end"))
    assert failure.exit_code == 143
    assert isinstance(failure.as_error(), Stopped)


def test_the_launcher_comes_from_the_profile_alone():
    assert isinstance(launcher_of(Launch.parse(""), Placement()), LocalLauncher)
    assert Launch.parse("").ranks_per_node == 1
