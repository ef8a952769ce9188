"""lidr status, logs and cancel of a run on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import typer

from lidr.components.shared import run_lease
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, CorruptStage, StoreError, StoreUnavailable
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.step import step
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.marker import MARKER
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import recipe_key, state_key
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.components.state.run import State
from lidr.pipelines import run_lock
from lidr.pipelines.cli import cancel, status_table
from lidr.pipelines.cli.cancel import cancel_command, cancel_here
from lidr.pipelines.cli.outputs import Output
from lidr.pipelines.cli.status import status_command
from lidr.pipelines.cli.status_table import as_json
from lidr.pipelines.local_status import (
    event_rows,
    existing_store,
    local_state,
    local_status,
    log_lines,
    read_events,
    stop,
)
from lidr.pipelines.status import END, StepRow
from lidr.pipelines.stored import StoredRun
from tests.fakes import make_recipe
from tests.kubernetes_api import wait_until
from tests.pipelines.conftest import FakeWorld


def status(world: FakeWorld) -> dict:
    return as_json(local_status(open_store(str(world.store)), "mine"))


def test_a_run_is_shown_while_it_runs_and_cancelled(fake_world: FakeWorld):
    process = fake_world.start("run", "tiny_world", "--run", "mine", evaluate="hang")
    events = fake_world.store / "runs/mine/events.jsonl"
    wait_until(lambda: any(e.get("step") == "evaluate" for e in read_events(events)), 60)
    shown = status(fake_world)
    rows = {(row["iteration"], row["step"]): row["state"] for row in shown["rows"]}
    assert shown["state"] == "running"
    assert rows == {(0, "prepare"): "done", (0, "evaluate"): "running"}

    cancelled = fake_world.lidr("cancel", "mine")
    assert cancelled.stdout == "mine: ended 1 run\n", cancelled.stderr
    assert process.wait(30) == 128 + 15
    assert fake_world.orphans == []
    shown = status(fake_world)
    assert (shown["state"], shown["rows"][-1]["state"]) == ("stopped", "cancelled")
    listed = fake_world.lidr("status", "--output", "json")
    assert json.loads(listed.stdout) == [{"run": "mine", "state": "stopped"}]
    store = open_store(str(fake_world.store))
    log, whole = list(log_lines(store, "mine", "evaluate")), list(log_lines(store, "mine"))
    assert any("lidr started step=evaluate" in line or "'evaluate'" in line for line in log)
    assert not any("'prepare'" in line for line in log)
    assert not any("KFP Executor" in line or '"parameterValues"' in line for line in whole)
    everything = list(log_lines(store, "mine", everything=True))
    assert any('"parameterValues"' in line for line in everything) and set(whole) < set(everything)
    assert any("'prepare'" in line for line in whole)


def test_a_failed_run_says_why(tmp_path: Path):
    store = open_store(str(tmp_path))
    told = {"message": "en.jsonl:7: broken\x1b[2J", "exit_code": 2}
    events = [
        {"event": "started", "time": 1.0, "step": "pair", "iteration": 1},
        {"event": "failed", "time": 2.0, "step": "pair", **told},
    ]
    lines = "".join(json.dumps(event) + "\n" for event in events)
    store.write("runs/mine/events.jsonl", lines.encode())
    shown = local_status(store, "mine")
    assert (shown.state, shown.notes) == ("failed", ("pair: en.jsonl:7: broken\ufffd[2J",))
    assert shown.rows[-1].note == "en.jsonl:7: broken\ufffd[2J"
    with pytest.raises(BadInput, match="no run 'absent'"):
        local_status(store, "absent")


def test_a_run_whose_step_met_an_unexpected_error_has_failed_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    @step("pair")
    def pair(iteration: int) -> str:
        raise KeyError("en")

    store, folder = open_store(str(tmp_path)), tmp_path / "runs/mine"
    folder.mkdir(parents=True)
    monkeypatch.setenv(EVENTS_VARIABLE, str(folder / "events.jsonl"))
    with pytest.raises(KeyError):
        pair(iteration=1)
    shown = local_status(store, "mine")
    assert (shown.state, shown.notes) == ("failed", ("pair: KeyError: 'en'",))
    assert shown.rows == (StepRow(1, "pair", "failed", note="KeyError: 'en'"),)


UNREADABLE = {
    "runs/another lidr's/events.jsonl": b"",
    "runs/damaged-result/result.json": b"{",
    "runs/damaged-result/recipe.json": b"",
    "runs/newer-recipe/recipe.json": b'{"schema": 99}',
}


def test_list_of_runs_has_those_that_have_just_begun_and_says_which_are_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store = open_store(str(tmp_path))
    failed = {"event": "failed", "time": 2.0, "step": "pair", "message": "full", "exit_code": 2}
    result = {"iterations": [], "final_model": "m", "report": "r"}
    recipe = make_recipe().model_dump_json().encode()
    files = {
        "runs/begun/events.jsonl": b"",
        "runs/begun-elsewhere/recipe.json": recipe,
        "runs/done/recipe.json": recipe,
        "runs/done/result.json": json.dumps(result).encode(),
        "runs/failed/events.jsonl": json.dumps(failed).encode(),
        **UNREADABLE,
    }
    for key, data in files.items():
        tmp_path.joinpath(key).parent.mkdir(parents=True, exist_ok=True)
        tmp_path.joinpath(key).write_bytes(data)
    status_command(profile=["local"], store=store.uri, output=Output.JSON)
    out, err = capsys.readouterr()
    assert {row["run"]: row["state"] for row in json.loads(out)} == {
        "begun": "begun",
        "begun-elsewhere": "begun",
        "done": "done",
        "failed": "failed",
        **{key.split("/")[1]: "unreadable" for key in UNREADABLE},
    }
    other, result_, recipe_ = err.splitlines()
    assert other.startswith('lidr: "another lidr\'s" cannot name a run')
    assert result_.startswith(f"lidr: {tmp_path}/runs/damaged-result/result.json: is not JSON")
    assert recipe_.startswith(f"lidr: {tmp_path}/runs/newer-recipe/recipe.json: is not the recipe")
    begun = local_status(store, "begun")
    assert (begun.state, begun.rows) == ("begun", ())
    local_status(store, "begun-elsewhere")


def test_state_of_a_run_is_known_without_its_stages(tmp_path: Path):
    """On S3 the stages of a store's runs are thousands of requests."""
    store = open_store(str(tmp_path))
    store.write(recipe_key("mine"), make_recipe().model_dump_json().encode())
    stage = new_stage(store, "prepare", 1, {}, {})
    stage.write(MARKER, b"{")
    state = dict.fromkeys(State._fields, "") | {"iteration": 0, "inputs": stage.uri}
    state |= {"verdict": "continue", "promoted": True, "reason": "the start"}
    store.write(state_key("mine", 0), json.dumps(state).encode())
    assert local_state(store, "mine") == "stopped"
    with pytest.raises(CorruptStage, match="prepare"):
        local_status(store, "mine")


def test_list_of_runs_needs_the_store(tmp_path: Path):
    """A store that fails is no unreadable run."""
    store = open_store(str(tmp_path))
    store.write("runs/begun/events.jsonl", b"")
    (tmp_path / "runs/begun/result.json").symlink_to(tmp_path.parent / "elsewhere")
    with pytest.raises(StoreError, match="leaves the store"):
        status_command(profile=["local"], store=store.uri)


def test_list_of_runs_shows_whole_names_on_a_narrow_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(status_table, "_WIDTH", 80)
    store, name = open_store(str(tmp_path)), "a-name-as-long-as-a-name-may-be" * 3
    store.write(f"runs/{name}/events.jsonl", b"")
    status_command(profile=["local"], store=store.uri)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join(line.split()[0] for line in lines[3:] if line.strip()) == name
    assert lines[3].split()[-1] == "begun"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, scheme: str):
    with pytest.raises(BadInput, match="no such store"):
        existing_store(f"{scheme}{tmp_path / 'absent'}")
    assert not list(tmp_path.iterdir())


def test_events_become_rows(tmp_path: Path):
    file = tmp_path / "events.jsonl"
    events = [
        {"event": "started", "time": 1.0, "step": "prepare", "iteration": -1},
        {"event": "reused", "time": 1.0, "step": "prepare"},
        {"event": "finished", "time": 2.0, "step": "prepare", "seconds": 1.0},
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
        StepRow(0, "prepare", "done", 1.0, note="reused"),
        StepRow(1, "train", "running", 10.0, 3, 9, "steps", 0.3, "pairs"),
        StepRow(END, "report", "running"),
    ]


def shard_event(kind: str, time: float, shard: str, **more: object) -> dict:
    return {"event": kind, "time": time, "step": "generate", "shard": shard, **more}


def shard_progress(time: float, shard: str, done: int) -> dict:
    figures = {"done": done, "total": 8, "unit": "requests", "rate": 2.5, "rate_unit": "tokens"}
    return shard_event("progress", time, shard, **figures)


def test_step_is_done_once_all_of_its_shards_are():
    events = [
        shard_event("started", 1.0, "1/3", iteration=1),
        shard_event("started", 2.0, "2/3", iteration=1),
        shard_progress(4.0, "1/3", 8),
        shard_progress(5.0, "2/3", 3),
        shard_event("finished", 6.0, "1/3", seconds=5.0),
    ]
    halfway = StepRow(1, "generate", "running", 5.0, 11, 16, "requests", 2.5, "tokens")
    assert list(event_rows(events, running=True)) == [halfway]
    events.append(shard_event("finished", 7.0, "2/3", seconds=5.0))
    (row,) = event_rows(events, running=True)  # the third waits for a turn
    assert (row.state, row.done, row.total, row.rate) == ("running", 11, 16, 0.0)
    (row,) = event_rows(events, running=False)
    assert row.state == "cancelled"
    events += [
        shard_event("started", 7.0, "3/3", iteration=1),
        shard_event("finished", 9.0, "3/3", seconds=2.0),
    ]
    assert list(event_rows(events, running=True)) == [StepRow(1, "generate", "done", 8.0)]


def test_step_has_failed_once_one_of_its_shards_has():
    events = [
        shard_event("started", 1.0, "1/2", iteration=1),
        shard_event("started", 1.0, "2/2", iteration=1),
        shard_event("failed", 2.0, "2/2", message="no memory", exit_code=1),
        shard_event("finished", 3.0, "1/2", seconds=2.0),
    ]
    assert list(event_rows(events, running=True)) == [
        StepRow(1, "generate", "failed", note="no memory")
    ]


def begun(store: Store, run: str, recipe: Recipe | None = None) -> Stage:
    """Write a run's start, and return its generate stage, of which one chunk is written."""
    store.write(recipe_key(run), (recipe or make_recipe()).model_dump_json().encode())
    world = new_stage(store, "prepare", 1, {}, {})
    world.finish({"prompts": 4})
    state = dict.fromkeys(State._fields, "") | {"iteration": 0, "inputs": world.uri}
    state |= {"model": world.uri, "verdict": "continue", "promoted": True, "reason": "the start"}
    store.write(state_key(run, 0), json.dumps(state).encode())
    stored = StoredRun.read(store, run)
    assert stored is not None
    stage = stored.under_way()["generate"]
    stage.write("responses/en/00000.parquet", b"")
    return stage


def local_profile(store: Store) -> Profile:
    return Profile(name="here", store=store.uri)


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that would be sent, each with its process."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("os.kill", lambda process, number: sent.append((process, number)))
    return sent


def test_the_stages_of_a_run_that_another_machine_executes_are_kept(
    tmp_path: Path, monkeypatch, capsys
):
    store = open_store(str(tmp_path))
    stage, profile = begun(store, "mine"), local_profile(store)
    with monkeypatch.context() as there:
        there.setattr(run_lease, "machine_id", lambda: "elsewhere")
        lease = run_lease._acquire(run_lease._folder(store.uri, "mine"), "mine", "local:x", 60.0)
    try:
        done = cancel_here(profile, "mine", discard=True)
        assert done.kept == {"generate": stage.uri} and "executes the run" in done.notes[0]
        assert store.list(stage.prefix)
        with pytest.raises(typer.Exit) as ended:
            cancel_command("mine", ["local"], store.uri, output=Output.JSON)
        assert ended.value.exit_code == 1
        assert json.loads(capsys.readouterr().out)["incomplete"]
    finally:
        lease.release()
    assert cancel_here(profile, "mine", discard=True).discarded == {"generate": stage.uri}
    assert not store.list(stage.prefix)


def test_no_process_is_ended_for_a_run_that_another_machine_executes(
    tmp_path: Path, monkeypatch, signals
):
    """On a shared file system the lock's file names a process there."""
    folder = tmp_path / "runs/mine"
    with monkeypatch.context() as there:
        there.setattr(run_lock, "machine_id", lambda: "elsewhere")
        there.setattr(run_lock.socket, "gethostname", lambda: "node-7")
        lock = run_lock.locked(folder, "mine")
        lock.__enter__()
    try:
        with pytest.raises(BadInput, match=f"by process {os.getpid()} on node-7. Stop it there"):
            stop(str(tmp_path), "mine")
    finally:
        lock.__exit__(None, None, None)
    assert signals == [] and not stop(str(tmp_path), "mine")


@pytest.mark.parametrize("seed", [None, 5], ids=["same recipe", "same stage"])
def test_nothing_is_discarded_that_another_run_of_this_machine_is_making(
    tmp_path: Path, signals, seed: int | None
):
    store, recipe = open_store(str(tmp_path)), make_recipe()
    stage = begun(store, "mine", recipe)
    longer = recipe.gate.model_copy(update={"max_iterations": 4})
    other = recipe.model_copy(update={"gate": longer}) if seed else recipe
    assert begun(store, "second", other).uri == stage.uri
    profile = local_profile(store)
    with run_lock.locked(tmp_path / "runs/second", "second"):
        with pytest.raises(BadInput, match="run 'second' is under way and may share stages"):
            cancel_here(profile, "mine", discard=True)
        assert store.list(stage.prefix)
        assert cancel_here(profile, "mine", discard=False).kept == {"generate": stage.uri}
    assert cancel_here(profile, "mine", discard=True).discarded == {"generate": stage.uri}
    assert signals == []


@pytest.mark.parametrize("discard", [False, True])
@pytest.mark.parametrize("fault", ["recipe", "state", "store"])
def test_run_is_ended_whatever_is_wrong_on_the_store(
    tmp_path: Path, monkeypatch, fault: str, discard: bool
):
    store = open_store(str(tmp_path))
    stage = begun(store, "mine")
    if fault == "recipe":
        store.write(recipe_key("mine"), b"{")
    elif fault == "state":
        store.write(state_key("mine", 0), b"{")
    else:

        def away(*_: object, **__: object) -> Store:
            raise StoreUnavailable("the store does not answer", remedy="Look at its log.")

        for module in (
            "pipelines.local_status",
            "pipelines.cli.cancel",
            "components.shared.run_lease",
        ):
            monkeypatch.setattr(f"lidr.{module}.open_store", away)
    monkeypatch.setattr(cancel, "stop", lambda store, run: True)
    done = cancel_here(local_profile(store), "mine", discard)
    assert (done.ended, done.discarded) == (["mine"], {})
    told = {"store": "does not answer", "recipe": "recipe.json: ", "state": "state.json: "}
    assert told[fault] in done.notes[0]
    assert store.list(stage.prefix)


def test_damaged_stage_keeps_no_run_from_being_listed_as_ended(tmp_path: Path, monkeypatch):
    def damaged(*_: object, **__: object) -> None:
        raise CorruptStage("prepare has other bytes", remedy="Restore it.")

    store = open_store(str(tmp_path))
    begun(store, "mine")
    monkeypatch.setattr(cancel, "clean_stages", damaged)
    monkeypatch.setattr(cancel, "stop", lambda store, run: True)
    done = cancel_here(local_profile(store), "mine", discard=True)
    assert done.ended == ["mine"]
    assert done.notes == [
        "some unfinished stages may be left: prepare has other bytes. Restore it."
    ]
