"""lidr status, logs and cancel of a run on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from components.shared.store import open_store
from pipelines.local_status import event_rows, log_lines, read_events
from pipelines.status import END, Row
from tests.kubernetes_api import wait_until
from tests.pipelines.conftest import FakeWorld


def status(world: FakeWorld, *arguments: str) -> dict:
    done = world.lidr("status", *arguments, "--output", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_is_shown_while_it_runs_and_cancelled(fake_world: FakeWorld):
    process = fake_world.start("run", "tiny_world", "--run", "mine", evaluate="hang")
    events = fake_world.store / "runs/mine/events.jsonl"
    wait_until(lambda: any(e.get("step") == "evaluate" for e in read_events(events)), 60)
    shown = status(fake_world, "mine")
    rows = {(row["iteration"], row["step"]): row["state"] for row in shown["rows"]}
    assert shown["state"] == "running"
    assert rows == {(0, "world"): "done", (0, "evaluate"): "running"}

    cancelled = fake_world.lidr("cancel", "mine")
    assert cancelled.stdout == "mine: ended 1 run\n", cancelled.stderr
    assert process.wait(30) == 128 + 15
    assert fake_world.orphans == []
    shown = status(fake_world, "mine")
    assert (shown["state"], shown["rows"][-1]["state"]) == ("stopped", "cancelled")


def test_a_failed_run_says_why_and_its_log_can_be_read(fake_world: FakeWorld):
    fake_world.lidr("run", "tiny_world", "--run", "mine", evaluate="refuse")
    shown = status(fake_world, "mine")
    last = shown["rows"][-1]
    assert (shown["state"], last["step"], last["state"]) == ("failed", "evaluate", "failed")
    assert "prompts/en.jsonl:7: the file is broken" in last["note"]
    assert status(fake_world) == [{"run": "mine", "state": "failed"}]

    log = fake_world.lidr("logs", "mine", "evaluate").stdout
    assert "the file is broken" in log and "'build-world'" not in log
    store = open_store(str(fake_world.store))
    assert any("'build-world'" in line for line in log_lines(store, "mine"))
    absent = fake_world.lidr("status", "absent")
    assert absent.returncode == 2 and "no run 'absent'" in absent.stderr


def test_a_store_that_is_not_there_is_not_made(fake_world: FakeWorld):
    done = fake_world.lidr("status")
    assert done.returncode == 2 and "no such store" in done.stderr
    assert not fake_world.store.exists()


def test_events_become_rows(tmp_path: Path):
    file = tmp_path / "events.jsonl"
    events = [
        {"event": "started", "time": 1.0, "step": "world", "iteration": -1},
        {"event": "reused", "time": 1.0, "step": "world"},
        {"event": "finished", "time": 2.0, "step": "world", "seconds": 1.0},
        {"event": "started", "time": 2.0, "step": "state", "iteration": 0},
        {"event": "started", "time": 2.0, "step": "train", "iteration": 1},
        {
            "event": "progress",
            "time": 12.0,
            "step": "train",
            "done": 3,
            "total": 9,
            "unit": "steps",
            "rate": 0.3,
            "rate_unit": "pairs",
        },
        {"event": "started", "time": 20.0, "step": "report", "iteration": -1},
    ]
    file.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"torn')
    assert list(event_rows(read_events(file), running=True)) == [
        Row(0, "world", "done", 1.0, note="reused"),
        Row(1, "train", "running", 10.0, 3, 9, "steps", 0.3, "pairs"),
        Row(END, "report", "running"),
    ]
