"""Conditions that the rounds bear themselves: a pod less in each."""

from __future__ import annotations

import copy
from typing import Any

from pipelines.lifting import inline_groups, lift_conditions
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
    tasks = component["dag"]["tasks"]
    assert set(tasks) == {"generate", "translate", "pair", "train", "evaluate"}
    trusted = "inputs.parameter_values['next_step'] == 'train'"
    assert tasks["train"]["triggerPolicy"]["condition"] == trusted
    produced = tasks["train"]["inputs"]["parameters"]["next_step"]["taskOutputParameter"]
    assert produced == {"outputParameterKey": "next_step", "producerTask": "pair"}
    assert tasks["train"]["dependentTasks"] == ["pair"]
    assert tasks["evaluate"]["dependentTasks"] == ["train"], "left out with it"
    assert "triggerPolicy" not in tasks["evaluate"]
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


def conditional(**more: Any) -> dict[str, Any]:
    """Return a task `group` that calls comp-group where `x` of another task is `yes`."""
    told = {"taskOutputParameter": {"producerTask": "ask", "outputParameterKey": "Output"}}
    return {
        "componentRef": {"name": "comp-group"},
        "dependentTasks": ["ask"],
        "inputs": {"parameters": {"x": told, "n": {"componentInputParameter": "number"}}},
        "triggerPolicy": {"condition": "inputs.parameter_values['x'] == 'yes'"},
        **more,
    }


def with_group(inner: dict[str, Any], **others: Any) -> dict[str, Any]:
    tasks = {"ask": {"componentRef": {"name": "c"}}, "group": conditional(), **others}
    components = {"comp-group": {"dag": {"tasks": inner}}, "c": {"executorLabel": "c"}}
    return {"root": {"dag": {"tasks": tasks}}, "components": components}


def inner_tasks() -> dict[str, Any]:
    n, x = {"componentInputParameter": "n"}, {"componentInputParameter": "x"}
    made = {"taskOutputParameter": {"producerTask": "first", "outputParameterKey": "Output"}}
    return {
        "first": {"componentRef": {"name": "c"}, "inputs": {"parameters": {"t": n}}},
        "second": {
            "componentRef": {"name": "c"},
            "dependentTasks": ["first"],
            "inputs": {"parameters": {"made": made, "asked": x}},
        },
    }


def test_tasks_of_a_group_that_nothing_follows_stand_beside_it():
    pipeline = with_group(inner_tasks())
    inline_groups(pipeline)
    tasks = pipeline["root"]["dag"]["tasks"]
    assert list(tasks) == ["ask", "first", "second"]
    told = {"taskOutputParameter": {"producerTask": "ask", "outputParameterKey": "Output"}}
    number = {"componentInputParameter": "number"}
    assert tasks["first"]["inputs"]["parameters"] == {"t": number, "x": told}
    assert tasks["first"]["triggerPolicy"]["condition"] == "inputs.parameter_values['x'] == 'yes'"
    assert tasks["first"]["dependentTasks"] == ["ask"]
    assert tasks["second"]["inputs"]["parameters"]["asked"] == told
    assert tasks["second"]["dependentTasks"] == ["ask", "first"]
    assert "triggerPolicy" not in tasks["second"]
    assert set(pipeline["components"]) == {"c"}


def test_a_group_stays_where_its_tasks_cannot_stand_beside_it():
    after = {"componentRef": {"name": "c"}, "dependentTasks": ["group"]}
    followed = with_group(inner_tasks(), after=after)
    taken = with_group(inner_tasks(), second={"componentRef": {"name": "c"}})
    choosy = inner_tasks()
    choosy["first"]["triggerPolicy"] = {"condition": "true"}
    for pipeline in (followed, taken, with_group(choosy)):
        before = copy.deepcopy(pipeline)
        inline_groups(pipeline)
        assert pipeline == before
