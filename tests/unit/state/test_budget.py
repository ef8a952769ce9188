"""Whether another iteration fits into a run's budget."""

from __future__ import annotations

import json

import pytest

from lidr.components.shared.config.budget import ACCOUNT, Account, Used
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.usage import read_budget_stop, read_stop_account
from lidr.components.state.budget import stopped_by_budget, used_so_far
from tests.usages import plant_usage


@pytest.fixture
def store(tmp_path) -> LocalStore:
    return LocalStore(tmp_path)


def told(monkeypatch, **values: object) -> None:
    monkeypatch.setenv(ACCOUNT, Account.model_validate(values).text())


def test_iteration_begins_where_it_fits_and_not_where_it_would_pass_the_budget(store, monkeypatch):
    plant_usage(store, "mine", 0, hours=1.0)
    plant_usage(store, "mine", 1, hours=3.0)
    plant_usage(store, "mine", 1, hours=0.5, ended=False)
    told(monkeypatch, budget={"gpu_hours": 8.0})
    assert stopped_by_budget(store, "mine", 2) == ""
    told(monkeypatch, budget={"gpu_hours": 7.9})
    reason = stopped_by_budget(store, "mine", 2)
    assert reason == (
        "the budget stopped the loop before M_2: 4.50 GPU hours are used, this iteration needs "
        "another 3.50 GPU hours, and budget.gpu_hours is 7.9"
    )
    assert read_budget_stop(store, "mine") == {"iteration": 2, "reason": reason}
    assert read_stop_account(store, "mine") == Account.from_environment()
    told(monkeypatch, budget={"gpu_hours": 8.0})
    assert stopped_by_budget(store, "mine", 2) == ""
    assert read_budget_stop(store, "mine") is None


def test_first_iteration_is_taken_from_the_plan(store, monkeypatch):
    plant_usage(store, "mine", 0, hours=1.0, step="evaluate")
    plan = {"gpu_hours": 2.0, "cost": 6.0}
    prices = {"evaluate": 3.0}
    told(monkeypatch, budget={"cost": 9.0}, prices=prices, planned=plan)
    assert stopped_by_budget(store, "mine", 1) == ""
    account = Account.from_environment()
    assert used_so_far(store, "mine") == Used(gpu_hours=1.0, cost=3.0, account=account)
    told(monkeypatch, budget={"cost": 8.5}, prices=prices, planned=plan)
    assert stopped_by_budget(store, "mine", 1).endswith(
        "1.00 GPU hours (3.00 USD) are used, this iteration needs another 2.00 GPU hours (6.00 "
        "USD), and budget.cost is 8.5"
    )


def test_iteration_that_has_ended_before_is_not_stopped(store, monkeypatch):
    plant_usage(store, "mine", 1, hours=9.0)
    told(monkeypatch, budget={"gpu_hours": 1.0})
    store.write("runs/mine/iteration-1/state.json", json.dumps({}).encode())
    assert stopped_by_budget(store, "mine", 1) == ""
    assert stopped_by_budget(store, "mine", 2)


def test_without_a_budget_nothing_stops(store):
    plant_usage(store, "mine", 1, hours=9e9)
    assert stopped_by_budget(store, "mine", 2) == ""
