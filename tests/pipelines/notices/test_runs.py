"""Runs on this machine that tell of themselves, with fake steps and a real receiver."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes_api import wait_until
from tests.layers import layer
from tests.pipelines.conftest import FakeWorld, make_world
from tests.receivers import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def telling(tmp_path: Path, receiver: Receiver) -> Iterator[FakeWorld]:
    world = make_world(tmp_path)
    world.environment["LIDR_NOTIFY_URL"] = receiver.url
    yield world
    world.close()


def run(world: FakeWorld, folder: Path, **fake: object) -> tuple[int, str]:
    place = layer(folder, notify={})
    rounds = ("--set", "gate.max_iterations=1", "--run", "mine")
    done = world.lidr(
        "run", "tiny_world", *rounds, "--profile", "local", "--profile", place, **fake
    )
    return done.returncode, done.stdout + done.stderr


def test_end_is_told_once_however_often_the_run_is_asked_for(telling, receiver, tmp_path):
    assert run(telling, tmp_path)[0] == 0
    assert run(telling, tmp_path)[0] == 0
    (text,) = [body["text"] for _, body in receiver.received]
    assert text == (
        "lidr: run mine has ended. Other languages' average 40.0% → 60.0% (M_1, fake/2). "
        f"M_1: as the test wants it. Report: {telling.store.resolve()}/runs/mine/report.html"
    )


def test_failure_is_told_with_its_reason_and_each_execution_s_own(telling, receiver, tmp_path):
    assert run(telling, tmp_path, train="refuse")[0] == 2
    code, told = run(telling, tmp_path, train="crash")
    assert code == 1
    assert [body["text"] for _, body in receiver.received] == [
        "lidr: run mine has failed at M_0 train: prompts/en.jsonl:7: the file is broken. Mend it. "
        "`lidr run RECIPE --run mine` resumes it.",
        "lidr: run mine has failed at M_0 train: an unexpected error, see `lidr logs`. "
        "`lidr run RECIPE --run mine` resumes it.",
    ]
    kept = [*telling.store.rglob("*.json*"), *telling.store.rglob("*.log")]
    everything = told + "".join(path.read_text("utf-8", "replace") for path in kept)
    assert "secret-part" not in everything


def test_driver_that_was_killed_is_told_and_a_run_under_way_is_not(telling, receiver, tmp_path):
    place = layer(tmp_path, notify={})
    words = ("run", "tiny_world", "--set", "gate.max_iterations=1", "--run", "mine")
    words = (*words, "--profile", "local", "--profile", place)
    first = telling.start(*words, train="hang")
    wait_until(lambda: '"train"' in events_of(telling), 60)
    second = telling.lidr(*words)
    assert second.returncode == 2 and "already being executed" in second.stderr
    assert receiver.received == [], "the run goes on"
    os.kill(telling.driver, signal.SIGKILL)
    assert first.wait(60) == 1
    assert [body["text"] for _, body in receiver.received] == [
        "lidr: run mine has failed: no step said why; see `lidr status`. `lidr run RECIPE --run "
        "mine` resumes it.",
    ]


def events_of(world: FakeWorld) -> str:
    return "".join(path.read_text() for path in world.store.glob("runs/mine/events.jsonl"))


def test_receiver_that_is_down_harms_no_run_and_hears_at_the_next_one(telling, receiver, tmp_path):
    receiver.status = 503
    assert run(telling, tmp_path)[0] == 0
    assert (
        "wait for the next attempt: the receiver answered HTTP 503"
        in (telling.run / "events.jsonl").read_text()
    )
    receiver.status = 200
    assert run(telling, tmp_path)[0] == 0
    assert len(receiver.received) == 2 and len(receiver.texts) == 1


def test_without_notify_in_the_profile_nobody_is_told(telling, receiver):
    done = telling.lidr("run", "tiny_world", "--set", "gate.max_iterations=1")
    assert done.returncode == 0, done.stderr
    assert receiver.received == []
