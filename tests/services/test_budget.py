"""lidr submit under a budget: refused before anything is made, stopped runs gone on with."""

from __future__ import annotations

import re

import pytest
import yaml

from lidr.components.shared.config.budget import ACCOUNT, NOTHING, Account, Amount, Budget
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.store.usage import note_budget_stop
from lidr.pipelines.begin import utc_day
from lidr.pipelines.cli.inputs import read_recipe
from lidr.pipelines.planning.budget import _require_fit
from tests.services.kubeflow import Cluster, write_end
from tests.usages import plant_usage
from tests.yaml_text import read_yaml

RECIPE = "llama3_8b_en_es_ru_de_fr"
RUN = ("submit", RECIPE, "--run", "mine")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    settled = ["generation.engine=vllm", f"model.date={utc_day()}"]
    return read_recipe(RECIPE, None, settled)


def needed(cluster: Cluster) -> tuple[float, str]:
    """Return the GPU hours that a refusal asks for, and the refusal."""
    cluster.configure(budget={"gpu_hours": 0.01})
    code, _, err = cluster.lidr(*RUN)
    assert (code, err.count("\n")) == (2, 1), err
    found = re.search(r"Raise budget\.gpu_hours to ([\d.]+) at least", err)
    assert found, err
    return float(found[1]), err


@pytest.fixture
def plan(cluster: Cluster) -> tuple[float, float, float]:
    """GPU hours of the run, of M_0 and of an iteration, by `lidr plan`."""
    steps = cluster.json("plan", RECIPE)["stages"]
    by_name = {each["stage"]: each["gpu_hours"] for each in steps}
    rounds = read_recipe(RECIPE, None, []).gate.max_iterations
    measured = by_name["evaluate"] / (rounds + 1)
    whole = sum(by_name.values())
    return whole, measured, (whole - measured) / rounds


def test_plan_that_does_not_fit_is_refused_with_its_numbers(cluster: Cluster, plan):
    whole, start, iteration = plan
    least, err = needed(cluster)
    assert least == pytest.approx(whole, abs=0.01)
    assert f"M_0 {start:,.2f} GPU hours" in err and f"an iteration {iteration:,.2f}" in err
    assert "budget.gpu_hours is 0.01" in err
    assert not cluster.kubeflow.runs and not cluster.kubeflow.pipelines
    cluster.configure(budget={"cost": 0.01})
    code, _, err = cluster.lidr(*RUN)
    assert code == 2 and "but budget.cost is 0.01" in err and "USD" in err


@pytest.mark.parametrize("hours", [12.344, 12.34, 0.07, 1_234_567.891])
def test_budget_that_a_refusal_asks_for_is_enough_and_can_be_pasted(hours: float):
    needed, low = Amount(gpu_hours=hours, cost=hours), Budget(gpu_hours=0.05, cost=0.05)
    with pytest.raises(BadInput, match=r"gpu_hours is 0\.05 and budget\.cost is 0\.05") as caught:
        _require_fit(Account(budget=low), NOTHING, "", [needed])
    asked = re.findall(r"budget\.(gpu_hours|cost) to ([\d.,]+)", caught.value.remedy)
    enough = Budget.model_validate({key: read_yaml(text) for key, text in asked})
    _require_fit(Account(budget=enough), NOTHING, "", [needed])
    assert enough.cost == pytest.approx(hours, abs=0.01)


def test_large_budget_is_shown_as_it_was_given():
    account = Account(budget=Budget(gpu_hours=1_234_567.0))
    with pytest.raises(BadInput, match=r"budget\.gpu_hours is 1,234,567\. "):
        _require_fit(account, NOTHING, "", [Amount(gpu_hours=2e6)])


def test_tasks_that_decide_are_told_of_budget_prices_and_plan(cluster: Cluster, plan):
    cluster.configure(budget={"gpu_hours": 1e6})
    assert cluster.json(*RUN)["outcome"] == "created"
    (version,) = cluster.kubeflow.versions.values()
    executors = version.pipeline_spec["pipeline_spec"]["deploymentSpec"]["executors"]
    told = {}
    for name, body in executors.items():
        for each in body["container"].get("env", []):
            if each["name"] == ACCOUNT:
                told[name.removeprefix("exec-")] = each["value"]
    assert set(told) == {"conclude", "finish"}
    account = Account.model_validate_json(told["conclude"])
    assert account.budget.gpu_hours == 1e6
    assert account.planned.gpu_hours == pytest.approx(plan[2])
    assert account.planned.cost == pytest.approx(3.0 * plan[2])


def test_run_that_its_budget_stopped_goes_on_with_a_higher_one(
    cluster: Cluster, recipe: Recipe, plan
):
    cluster.configure(budget={"gpu_hours": 1e6})
    first = cluster.json(*RUN)
    store = cluster.store
    write_end(store, recipe, "mine", verdict="continue")
    note_budget_stop(store, "mine", 2, "the budget stopped the loop before M_2: too dear")
    plant_usage(store, "mine", 0, hours=10.0)
    plant_usage(store, "mine", 1, hours=50.0)
    cluster.end_run("SUCCEEDED")
    status = cluster.json("status", "mine")
    assert status["state"] == "done"
    assert "the budget stopped the loop before M_2: too dear" in status["notes"]

    left = recipe.gate.max_iterations - 1
    least, err = needed(cluster)
    assert "60.00 GPU hours (180.00 USD) are used" in err and "M_0" not in err
    assert least == pytest.approx(60.0 + 50.0 * left)
    cluster.configure(budget={"gpu_hours": least})
    again = cluster.json(*RUN)
    assert (again["outcome"], again["run_id"] != first["run_id"]) == ("resumed", True)
    newest = list(cluster.kubeflow.versions.values())[-1]
    text = yaml.safe_dump(newest.pipeline_spec)
    assert "M_2 train" in text and "M_1 train" not in text


def test_schedule_is_compared_with_the_budget_too(cluster: Cluster):
    cluster.configure(budget={"gpu_hours": 0.01})
    code, _, err = cluster.lidr("submit", RECIPE, "--every", "6h")
    assert code == 2 and "but budget.gpu_hours is 0.01" in err
