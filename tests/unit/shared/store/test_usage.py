"""The notes of what a run's processes held: killed ones count too, and nothing counts twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lidr.components.shared.config.budget import Account, Amount
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.step import step
from lidr.components.shared.store import usage
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.usage import (
    Usage,
    amounts,
    counting_gpus,
    estimate_remaining,
    forget_budget_stop,
    note_budget_stop,
    read_budget_stop,
    read_stop_account,
    read_usage,
    total,
)


@pytest.fixture
def gpus(monkeypatch) -> None:
    """This machine has two GPUs."""
    monkeypatch.setattr(usage, "gpu_count", lambda: 2)


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path)


def test_process_notes_its_gpus_by_the_seconds_that_it_held_them(store, gpus, monkeypatch):
    clock = iter([100.0, 100.0, 130.0])
    monkeypatch.setattr(usage.time, "monotonic", lambda: next(clock))
    with counting_gpus(store, "mine", 1, "train"):
        assert [each.ended for each in read_usage(store, "mine")] == [False]
    assert read_usage(store, "mine") == [Usage("train", 1, 60.0, ended=True)]


def test_process_within_one_that_counts_does_not_count_again(store, gpus):
    with counting_gpus(store, "mine", 1, "rollout"):
        with counting_gpus(store, "mine", 1, "generate"):
            pass
        told = subprocess.run(
            [sys.executable, "-c", "import os; print(os.environ['LIDR_GPUS_COUNTED'])"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == "1"
    assert [each.step for each in read_usage(store, "mine")] == ["rollout"]
    assert "LIDR_GPUS_COUNTED" not in os.environ


def test_process_without_gpus_notes_nothing(store):
    with counting_gpus(store, "mine", 1, "train"):
        pass
    assert read_usage(store, "mine") == []


_HOLDS = """
import sys, time
from lidr.components.shared.store import usage
from lidr.components.shared.store.local import LocalStore
from pathlib import Path
usage.gpu_count = lambda: 4
usage.RENEWAL_SECONDS = 0.05
with usage.counting_gpus(LocalStore(Path(sys.argv[1])), "mine", 2, "train"):
    time.sleep(600)
"""


def test_process_that_was_killed_counts_up_to_its_last_note(store):
    process = subprocess.Popen([sys.executable, "-c", _HOLDS, str(store.root)])
    while not any(each.gpu_seconds > 0 for each in read_usage(store, "mine")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (lost,) = read_usage(store, "mine")
    assert (lost.step, lost.iteration, lost.ended) == ("train", 2, False)
    assert lost.gpu_seconds >= 4 * 0.05


def test_step_that_has_gpus_is_counted_and_one_that_has_none_is_not(store, gpus, monkeypatch):
    monkeypatch.setattr(usage, "RENEWAL_SECONDS", 3600.0)

    def named(name: str):
        @step(name)
        def work(store: str, run: str, iteration: int) -> str:
            raise BadInput("it fails")

        return work

    for name in ("evaluate", "pair"):
        with pytest.raises(BadInput):
            named(name)(store=store.uri, run="mine", iteration=1)
    assert [(each.step, each.ended) for each in read_usage(store, "mine")] == [("evaluate", True)]


def test_usage_is_priced_by_the_kind_of_its_step():
    account = Account(prices={"generate": 2.0, "evaluate": 2.0, "train": 3.0})
    usages = [
        Usage("evaluate", 0, 3600.0, True),
        Usage("rollout", 1, 7200.0, True),  # of kind generate
        Usage("train", 1, 3600.0, False),
        Usage("prepare", 0, 1800.0, True),  # has no price
    ]
    found = amounts(usages, account)
    assert found == {0: Amount(gpu_hours=1.5, cost=2.0), 1: Amount(gpu_hours=3.0, cost=7.0)}
    assert total(found.values()) == Amount(gpu_hours=4.5, cost=9.0)


def test_what_an_iteration_will_take_is_the_dearest_one_so_far():
    planned = Amount(gpu_hours=9.0, cost=1.0)
    used = {0: Amount(gpu_hours=50.0), 1: Amount(gpu_hours=2.0, cost=6.0)}
    assert estimate_remaining(used, planned, 1) == Amount(gpu_hours=7.0, cost=0.0)  # it has begun
    assert estimate_remaining({}, planned, 1) == planned
    used |= {2: Amount(gpu_hours=3.0, cost=4.0)}
    assert estimate_remaining(used, planned, 3) == Amount(gpu_hours=3.0, cost=6.0)


@pytest.mark.parametrize(
    "change",
    [
        {"gpus": "2"},
        {"seconds": None},
        {"ended": 1},
        {"gpus": -1},
        {"gpus": 10**400},
        {"seconds": -0.5},
        {"seconds": 1e308},
        {"iteration": -1},
    ],
)
def test_note_that_was_edited_is_refused_with_its_file(store, change):
    note = {"step": "train", "iteration": 1, "gpus": 1, "seconds": 1.0, "ended": True}
    key = "runs/mine/usage/1-train-x.json"
    store.write(key, json.dumps(note | change).encode())
    with pytest.raises(BadInput, match="damaged or edited") as caught:
        read_usage(store, "mine")
    assert caught.value.file == f"{store.uri}/{key}"


def test_stop_is_kept_until_the_run_goes_on(store):
    assert read_budget_stop(store, "mine") is None
    note_budget_stop(store, "mine", 2, "too dear")
    assert read_budget_stop(store, "mine") == {"iteration": 2, "reason": "too dear"}
    assert read_stop_account(store, "mine") is None
    forget_budget_stop(store, "mine")
    assert read_budget_stop(store, "mine") is None


def test_account_of_a_stop_that_was_edited_is_refused_with_its_file(store):
    note_budget_stop(store, "mine", 2, "too dear", Account(currency="EUR"))
    assert read_stop_account(store, "mine") == Account(currency="EUR")
    key = "runs/mine/budget.json"
    store.write(key, store.read(key).replace(b'"EUR"', b"5"))
    with pytest.raises(BadInput, match="has a field 'account' that cannot be read") as caught:
        read_stop_account(store, "mine")
    assert caught.value.file == f"{store.uri}/{key}"
