"""The loop's memory, and the exit handler."""

from __future__ import annotations

import json
import os
import time

import pytest

from lidr.components.cleanup.run import IDLE_SECONDS, cleanup
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import read_result, read_state
from lidr.components.shared.store.stage import new_stage
from lidr.components.state.run import State, next_state, write_state
from lidr.pipelines.stored import StoredRun


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return open_store(str(tmp_path / "store"))


def decision(store, verdict: str, promoted: bool) -> str:
    stage = new_stage(store, "gate", 1, {}, {"verdict": verdict, "promoted": promoted})
    return stage.finish({"verdict": verdict, "promoted": promoted, "reason": "because"})


def write(store, iteration: int, decided: str = "", recipe: str = "{}") -> str:
    return write_state(
        recipe=recipe,
        store=store.uri,
        run="mine",
        iteration=iteration,
        inputs="w",
        responses="r",
        translations="t",
        pairs="p",
        model=f"m{iteration}",
        evaluation=f"e{iteration}",
        judgements=f"j{iteration}",
        decision=decided,
        version=f"v/{iteration}",
    )


def after(store, iteration: int, verdict: str = "continue") -> State:
    return next_state(
        store=store.uri,
        run="mine",
        iteration=iteration,
        model="old",
        evaluation="e",
        judgements="j",
        version="v",
        verdict=verdict,
    )


def test_a_promoted_model_is_the_next_start(store):
    assert write(store, 0) == "continue"
    assert write(store, 1, decision(store, "continue", True)) == "continue"
    assert after(store, 1) == State("m1", "e1", "j1", "v/1", "continue")


def test_a_model_that_is_not_promoted_leaves_the_old_one_and_the_loop_may_go_on(store):
    assert write(store, 1, decision(store, "continue", False)) == "continue"
    assert after(store, 1) == State("old", "e", "j", "v", "continue")


def test_a_rejected_model_leaves_the_old_one_and_stops(store):
    assert write(store, 1, decision(store, "stop", False)) == "stop"
    assert after(store, 1) == State("old", "e", "j", "v", "stop")
    assert read_state(store, "mine", 1)["model"] == "m1"


def test_a_skipped_round_hands_the_state_on(store):
    assert after(store, 3, "stop") == State("old", "e", "j", "v", "stop")


def test_a_round_that_left_no_state_is_an_error(store):
    with pytest.raises(BadInput, match="has no iteration 2"):
        after(store, 2)


def test_a_stop_forgets_what_a_longer_execution_left(store):
    for iteration in (1, 2, 3):
        write(store, iteration, decision(store, "continue", True))
    write(store, 1, decision(store, "stop", True))
    assert not store.exists("runs/mine/iteration-2/state.json")
    assert not store.exists("runs/mine/iteration-3/state.json")


def test_the_run_keeps_its_recipe(store):
    write(store, 0, recipe='{"a": 1, "b": 2}')
    write(store, 0, recipe='{"b": 2, "a": 1}')
    with pytest.raises(BadInput, match="another recipe"):
        write(store, 0, recipe='{"a": 2, "b": 2}')
    assert json.loads(store.read("runs/mine/recipe.json")) == {"a": 1, "b": 2}


def test_cleanup_removes_only_what_lost_its_writer(store):
    folder = store.root / "stages" / "train" / "abc"
    folder.mkdir(parents=True)
    old, young, done = (folder / name for name in (".tmp-old", ".tmp-young", "model.bin"))
    for path in (old, young, done):
        path.write_bytes(b"x")
    past = time.time() - IDLE_SECONDS - 60
    for path in (old, done):
        os.utime(path, (past, past))
    assert cleanup(store=store.uri, state="FAILED") == "1"
    assert sorted(path.name for path in folder.iterdir()) == [".tmp-young", "model.bin"]


@pytest.mark.parametrize(
    "change",
    [{"promoted": "yes"}, {"verdict": None}, {"model": 3}, {"iteration": "0"}, {"judgements": []}],
)
def test_a_state_that_was_edited_is_refused_with_its_file(store, change):
    write(store, 0)
    key = "runs/mine/iteration-0/state.json"
    state = json.loads(store.read(key))
    store.write(key, json.dumps(state | change).encode())
    with pytest.raises(BadInput, match="damaged or edited") as caught:
        read_state(store, "mine", 0)
    assert caught.value.file == f"{store.uri}/{key}"


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_result_and_a_recipe_that_are_none_are_refused(store, data):
    write(store, 0)
    store.write("runs/mine/result.json", data)
    with pytest.raises(BadInput, match=r"result\.json"):
        read_result(store, "mine")
    store.write("runs/mine/recipe.json", data)
    with pytest.raises(BadInput, match=r"recipe\.json"):
        StoredRun.read(store, "mine")


def test_time_of_a_result_is_its_file_s(store, tmp_path):
    stored = StoredRun(store, "mine", None, ())
    assert stored.result_written == 0
    store.write("runs/mine/result.json", b"{}")
    os.utime(tmp_path / "store" / "runs" / "mine" / "result.json", (5e8, 5e8))
    assert StoredRun(store, "mine", None, ()).result_written == 5e8
