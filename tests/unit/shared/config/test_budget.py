"""A budget and prices: what tasks are told of them, and what a bound refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.shared.config.budget import ACCOUNT, Account, Amount
from lidr.components.shared.config.profile import Profile, load_profile
from lidr.components.shared.core.errors import BadInput
from tests.layers import layer

CLUSTER = Path(__file__).parents[4] / "pipelines" / "profiles" / "cluster.yaml"


def profile(folder: Path, **sections: object) -> Profile:
    return load_profile(CLUSTER, Path(layer(folder, **sections)))


def test_account_of_a_profile_survives_its_way_through_the_environment(tmp_path, monkeypatch):
    spot = {"pool": "h100", "spot": True}
    asked = profile(tmp_path, budget={"gpu_hours": 10, "cost": 25.5}, steps={"generate": spot})
    account = Account.of(asked, Amount(gpu_hours=1.5, cost=4.5))
    spots = dict.fromkeys(("generate", "translate", "score", "evaluate"), 2.25)
    assert account.prices == {**spots, "train": 3.0}
    monkeypatch.setenv(ACCOUNT, account.text())
    assert Account.from_environment() == account
    monkeypatch.setenv(ACCOUNT, "")
    assert Account.from_environment() == Account()
    assert Account().text() == ""


def test_account_that_is_none_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv(ACCOUNT, '{"budget": {"gpu_hours": -1}}')
    with pytest.raises(BadInput, match=r"LIDR_ACCOUNT does not hold a profile's budget"):
        Account.from_environment()


@pytest.mark.parametrize(
    ("bounds", "used", "further", "over"),
    [
        ({}, (1e9, 1e9), (0, 0), []),
        ({"gpu_hours": 10}, (6, 0), (4, 0), []),
        ({"gpu_hours": 10}, (6, 0), (4.01, 0), ["gpu_hours"]),
        ({"cost": 30}, (6, 20), (4, 11), ["cost"]),
        ({"gpu_hours": 9, "cost": 30}, (6, 20), (4, 11), ["gpu_hours", "cost"]),
    ],
)
def test_account_names_the_bounds_that_would_be_passed(bounds, used, further, over):
    account = Account(budget=bounds)
    amounts = [Amount(gpu_hours=hours, cost=cost) for hours, cost in (used, further)]
    assert account.exceeded(*amounts) == over


def test_account_says_its_bounds_in_words():
    account = Account(budget={"gpu_hours": 2_500_000, "cost": 12.5})
    assert account.bounds_text(["cost"]) == "budget.cost is 12.5"
    assert account.bounds_text(["gpu_hours", "cost"]) == (
        "budget.gpu_hours is 2,500,000 and budget.cost is 12.5"
    )


@pytest.mark.parametrize(
    ("price", "fault"),
    [
        ({"on_demand": None}, "GPUs without a price in prices.gpus: H100 of .*train"),
        ({"on_demand": 0}, "every GPU has the price 0, so nothing has a cost"),
    ],
)
def test_bound_of_the_cost_wants_a_price_for_every_gpu(tmp_path, price, fault):
    with pytest.raises(BadInput, match=rf"budget\.cost: {fault}"):
        profile(tmp_path, budget={"cost": 5}, prices={"gpus": {"H100": price}})
    with pytest.raises(BadInput, match="no step has accelerators"):
        local = CLUSTER.with_name("local.yaml")
        load_profile(local, Path(layer(tmp_path, budget={"cost": 5})))


def test_bound_of_the_cost_takes_gpus_that_are_free(tmp_path):
    spot = {"pool": "h100", "spot": True}
    prices = {"gpus": {"H100": {"spot": 0}}}
    asked = profile(tmp_path, budget={"cost": 5}, prices=prices, steps={"evaluate": spot})
    assert "evaluate" not in Account.of(asked).prices


def test_amount_in_words():
    assert Amount(gpu_hours=1234.5).text("USD") == "1,234.50 GPU hours"
    assert Amount(gpu_hours=1.25, cost=3.75).text("EUR") == "1.25 GPU hours (3.75 EUR)"


def test_account_is_short_in_a_pipeline(tmp_path):
    text = Account.of(profile(tmp_path)).text()
    kinds = ("generate", "translate", "score", "evaluate", "train")
    assert json.loads(text) == {"prices": dict.fromkeys(kinds, 3.0)}
