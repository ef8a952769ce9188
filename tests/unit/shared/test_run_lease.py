"""The lease of a run: one execution at a time, on this machine, on others, and on a cluster."""

from __future__ import annotations

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

from components.shared import run_lease as module
from components.shared.errors import BadInput, LidrError
from components.shared.progress import EVENTS_VARIABLE, step
from components.shared.run_lease import run_lease, task_lease

CODE = """
import sys, time
from components.shared import run_lease as module
module.SECONDS = float(sys.argv[2])
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
    monkeypatch.setattr(module, "_machine", lambda: "elsewhere")


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
    monkeypatch.setattr(module, "SECONDS", 0.3)
    broken = tmp_path / "runs/mine/lease/000000000007.json"
    broken.parent.mkdir(parents=True)
    for text in (b"", b"{", b"[]", b'{"seconds": NaN}', b'{"identity": "x", "seconds": 1e9}'):
        for old in broken.parent.iterdir():
            old.unlink()
        broken.write_bytes(text)
        with run_lease(str(tmp_path), "mine") as lease:
            assert lease.number == 8


def test_tasks_of_one_kfp_run_share_it_and_another_run_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TASK_SECONDS", 1.0)

    def task(name: str, execution: str):
        return task_lease(name, str(tmp_path), "mine", execution)

    with task("generate", "first"), task("generate", "first"):
        pass
    with task("train", "first"):
        monkeypatch.setattr(module, "_machine", lambda: "another pod")
        with pytest.raises(BadInput, match="already being executed"), task("world", "second"):
            pass
        with task("train", "first"):  # its retry
            pass
    began = time.monotonic()
    with task("world", "second"):
        assert time.monotonic() - began > 1.0
        with pytest.raises(BadInput, match="already being executed"), task("pair", "first"):
            pass
    with task("report", "second"):
        pass
    began = time.monotonic()
    with task("world", "third"):
        assert time.monotonic() - began < 0.9, "the last step gives it back"


def test_a_task_whose_run_was_taken_over_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TASK_SECONDS", 0.5)
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
