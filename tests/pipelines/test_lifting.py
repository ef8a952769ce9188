"""Conditions that the rounds bear themselves: a pod less in each."""

from __future__ import annotations

import copy
from typing import Any

from pipelines.lifting import lift_conditions
from tests.pipelines.test_sharing import compiled

CLUSTER = {"runner": "kubeflow", "training": {"launcher": "trainjob"}}


def rounds_of(pipeline: dict[str, Any]) -> list[dict[str, Any]]:
    tasks = pipeline["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    return [task for name, task in tasks.items() if name.startswith("iteration")]


def read(body: Any) -> set[str]:
    """Return the inputs of its group that something reads."""
    if isinstance(body, dict):
        own = {body["componentInputParameter"]} if "componentInputParameter" in body else set()
        return own.union(*map(read, body.values()))
    return set().union(*map(read, body)) if isinstance(body, list) else set()


def test_a_round_on_a_cluster_is_one_group_of_tasks_with_a_condition():
    pipeline = compiled(3, **CLUSTER)[0]
    rounds = rounds_of(pipeline)
    conditions = {task["triggerPolicy"]["condition"] for task in rounds}
    assert conditions == {"inputs.parameter_values['verdict'] == 'continue'"}
    assert all("verdict" in task["inputs"]["parameters"] for task in rounds)
    name, *others = [task["componentRef"]["name"] for task in rounds]
    assert len(set(others) - {name}) == 2, "a round each, for its tasks bear its model's name"
    component = pipeline["components"][name]
    assert set(component["dag"]["tasks"]) == {"generate", "translate", "pair", "learn"}
    learn = component["dag"]["tasks"]["learn"]
    trusted = "inputs.parameter_values['next_step'] == 'train'"
    assert learn["triggerPolicy"]["condition"] == trusted
    produced = learn["inputs"]["parameters"]["next_step"]["taskOutputParameter"]
    assert produced == {"outputParameterKey": "next_step", "producerTask": "pair"}
    learning = pipeline["components"][learn["componentRef"]["name"]]
    assert set(learning["dag"]["tasks"]) == {"train", "evaluate"}
    assert read(learning["dag"]) <= set(learning["inputDefinitions"]["parameters"])
    assert read(component["dag"]) <= set(component["inputDefinitions"]["parameters"])
    assert not [name for name in pipeline["components"] if "condition" in name]


def test_a_round_on_this_machine_keeps_its_group():
    pipeline = compiled(2)[0]
    assert not any("triggerPolicy" in task for task in rounds_of(pipeline))
    groups = [name for name in pipeline["components"] if name.startswith("comp-condition")]
    assert len(groups) == 2, "a round, and what follows its pairs"


def test_a_sub_pipeline_of_more_than_a_condition_stays():
    condition = {"triggerPolicy": {"condition": "true"}, "componentRef": {"name": "comp-group"}}
    pipeline = {
        "root": {"dag": {"tasks": {"a": {"componentRef": {"name": "comp-a"}}}}},
        "components": {
            "comp-a": {"dag": {"tasks": {"if": condition, "b": {"componentRef": {"name": "c"}}}}},
            "comp-group": {"dag": {"tasks": {"c": {"componentRef": {"name": "c"}}}}},
            "c": {"executorLabel": "c"},
        },
    }
    before = copy.deepcopy(pipeline)
    lift_conditions(pipeline)
    assert pipeline == before
