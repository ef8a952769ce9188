"""Interrupting `lidr run` at any moment: nothing is lost, done twice, or left running."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.processes import marked_pids
from lidr.components.shared.run_lease import run_lease
from lidr.pipelines.cli.execution import execute_here
from lidr.pipelines.cli.inputs import read_recipe
from lidr.pipelines.local import LocalJob, _follow, running
from lidr.pipelines.local_status import driver_of
from lidr.pipelines.run_lock import locked
from tests.pipelines.conftest import FakeWorld

RUN = ("run", "tiny_world", "--set", "gate.max_iterations=1", "--output", "json")


def wait_until(condition, seconds: float = 120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def started(world: FakeWorld, step: str):
    def look() -> bool:
        said = "".join(path.read_text() for path in world.store.glob("runs/*/events.jsonl"))
        return '"started", ' in said and f'"step": "{step}"' in said

    return look


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_everything_and_says_how_to_go_on(fake_world: FakeWorld, number, code):
    process = fake_world.start(*RUN, generate="hang")
    wait_until(started(fake_world, "generate"))
    time.sleep(0.3)
    assert len(fake_world.orphans) >= 3
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == code
    assert "running the same command again continues" in stderr
    assert "Traceback" not in stderr
    assert fake_world.orphans == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_is_ignored_as_under_nohup_stays_ignored(fake_world: FakeWorld, number):
    before = signal.signal(number, signal.SIG_IGN)  # a child inherits it, as from nohup
    try:
        process = fake_world.start(*RUN, generate="hang")
    finally:
        signal.signal(number, before)
    wait_until(started(fake_world, "generate"))
    process.send_signal(number)
    process.send_signal(signal.SIGTERM)  # of two that wait, Python handles the lower number first
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert fake_world.orphans == []


def test_a_signal_after_the_run_is_handled_as_before_it(tmp_path: Path):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    recipe = read_recipe("tiny_world", None, None)
    job = LocalJob(recipe=recipe.model_dump_json(), store=str(tmp_path), run="mine")
    with locked(job.folder, job.run), pytest.raises(BadInput, match="already being executed"):
        execute_here(recipe, job)
    assert [signal.getsignal(number) for number in numbers] == before


def test_lock_of_a_run_names_its_process_only_while_it_lives(tmp_path: Path):
    job = LocalJob(recipe="", store=str(tmp_path), run="mine")
    with locked(job.folder, job.run):
        assert (driver_of(job), running(job.store)) == (os.getpid(), ["mine"])
    assert (job.folder / "lock").read_text() == ""
    assert (driver_of(job), running(job.store)) == (0, [])


def test_a_lock_of_another_machine_names_its_host(tmp_path: Path):
    (tmp_path / "lock").write_text("7\nanother\nnode-3\n")
    with (tmp_path / "lock").open() as holder:
        fcntl.flock(holder, fcntl.LOCK_SH)
        with pytest.raises(BadInput, match="executed by process 7 on node-3"):
            locked(tmp_path, "mine").__enter__()


def test_run_that_begins_while_others_ask_for_it_is_no_second_one(tmp_path: Path, monkeypatch):
    job = LocalJob(recipe="", store=str(tmp_path), run="mine")
    job.folder.mkdir(parents=True)
    lock = job.folder / "lock"
    lock.write_text("1\n")  # of a run that was killed
    with lock.open() as asker:
        fcntl.flock(asker, fcntl.LOCK_SH)
        assert (driver_of(job), running(job.store)) == (0, [])
        with pytest.raises(BadInput, match="already being executed"), locked(job.folder, job.run):
            pass
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(asker, fcntl.LOCK_UN))
        with locked(job.folder, job.run):
            assert driver_of(job) == os.getpid()


def test_progress_of_a_run_that_takes_days_is_shown_and_not_kept(tmp_path: Path):
    job = LocalJob(recipe="", store=str(tmp_path), run="mine")
    job.folder.mkdir(parents=True)
    progress = {"event": "progress", "time": 2.0, "done": 1, "total": 2, "unit": "steps"}
    told = [
        {"event": "started", "time": 1.0, "step": "train", "iteration": 1},
        *[progress | {"step": "train"}] * 3,
        {"event": "finished", "time": 3.0, "step": "train", "seconds": 2.0},
        {"event": "failed", "time": 4.0, "step": "gate", "message": "no", "exit_code": 1},
    ]
    source = tmp_path / "told"
    source.write_text("".join(json.dumps(event) + "\n" for event in told))
    job.events.touch()
    watched: list[str] = []
    with run_lease(job.store, job.run) as lease:
        driver = subprocess.Popen(["cp", source, job.events])
        kept = _follow(driver, job, lambda es: watched.extend(e["event"] for e in es), lease)
    assert watched == [event["event"] for event in told]
    assert [event["event"] for event in kept] == ["started", "finished", "failed"]


def test_sigkill_of_the_parent_leaves_no_orphan(fake_world: FakeWorld):
    process = fake_world.start(*RUN, program=True, train="hang")
    wait_until(started(fake_world, "train"))
    time.sleep(0.3)
    process.kill()
    process.wait()
    wait_until(lambda: fake_world.orphans == [], 5)

    again = fake_world.lidr(*RUN)
    assert again.returncode == 0, again.stderr
    assert len(fake_world.work) == len(set(fake_world.work)) == 10


def test_sigkill_of_the_driver_fails_and_leaves_no_orphan(fake_world: FakeWorld):
    process = fake_world.start(*RUN, program=True, train="hang")
    wait_until(started(fake_world, "train"))
    os.kill(fake_world.driver, signal.SIGKILL)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "lidr: error: train failed" in stderr
    assert fake_world.orphans == []


def test_sigkill_of_all_but_the_tasks_is_mended_by_the_next_run(fake_world: FakeWorld):
    process = fake_world.start(*RUN, program=True, train="hang")
    wait_until(started(fake_world, "train"))
    time.sleep(0.3)
    process.send_signal(signal.SIGSTOP)
    os.kill(fake_world.driver, signal.SIGKILL)
    process.kill()
    process.wait()
    assert fake_world.orphans != []

    again = fake_world.lidr(*RUN)
    assert again.returncode == 0, again.stderr
    assert fake_world.orphans == []


@pytest.mark.parametrize(
    ("seed", "kills"),
    [(7, 4), *(pytest.param(seed, 8, marks=pytest.mark.long) for seed in (8, 9))],
)
def test_killed_at_random_moments_it_still_arrives(fake_world: FakeWorld, seed: int, kills: int):
    clock = random.Random(seed)
    for _ in range(kills):
        process = fake_world.start(*RUN, sleep=0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(clock.uniform(0.1, 1.5))
        process.kill()
        process.wait()
    done = fake_world.lidr(*RUN, sleep=0.02)
    assert done.returncode == 0, done.stderr
    assert len(fake_world.work) == len(set(fake_world.work)) == 10
    assert fake_world.orphans == []


def test_a_second_execution_of_the_same_run_is_refused(fake_world: FakeWorld):
    first = fake_world.start(*RUN, program=True, generate="hang")
    wait_until(started(fake_world, "generate"))
    second = fake_world.lidr(*RUN)
    assert second.returncode == 2
    assert f"is already being executed by process {first.pid}" in second.stderr
    assert fake_world.orphans != []
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=20)


def test_two_runs_may_share_a_store(fake_world: FakeWorld):
    first = fake_world.start(*RUN, generate="hang")
    wait_until(started(fake_world, "generate"))
    other = fake_world.lidr(*RUN, "--seed", "1")
    assert other.returncode == 0, other.stderr
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=20)


def test_a_marked_process_is_found_by_the_whole_value(fake_world: FakeWorld):
    child = subprocess.Popen(["sleep", "60"], env={"MARK": "/a/b"}, start_new_session=True)
    try:
        wait_until(lambda: marked_pids("MARK", "/a/b") == [child.pid], 5)
        assert marked_pids("MARK", "/a") == []
    finally:
        child.kill()
        child.wait()
