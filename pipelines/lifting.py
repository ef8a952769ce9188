"""Conditions that cost no pods of their own.

KFP starts a driver's pod for every group of tasks, and Argo's queue looks at it ten seconds later.
A sub-pipeline that is nothing but one `dsl.If` is two groups, one inside the other; on the backend
the task that calls it can bear the condition itself. Where that does not hold, Argo leaves out the
sub-pipeline and all that follows it.
"""

from __future__ import annotations

import copy
from typing import Any

Document = dict[str, Any]

_CHANNEL = "pipelinechannel--"


def lift_conditions(pipeline: Document) -> None:
    """Put the condition of each such sub-pipeline on the tasks that call it, in place.

    Args:
        pipeline: the PipelineSpec as a dictionary.
    """
    components = pipeline["components"]
    for name, component in components.items():
        if (group := _only_group(component)) is None:
            continue
        given = group["inputs"]["parameters"]
        names = {key: value["componentInputParameter"] for key, value in given.items()}
        inner = copy.deepcopy(components[group["componentRef"]["name"]]["dag"])
        component["dag"] = _renamed(inner, names)
        policy = _renamed(group["triggerPolicy"], names)
        for task in _tasks(pipeline):
            if task["componentRef"]["name"] == name:
                task["triggerPolicy"] = dict(policy)
    used = {task["componentRef"]["name"] for task in _tasks(pipeline)}
    for name in components.keys() - used:
        del components[name]


def _only_group(component: Document) -> Document | None:
    """Return the conditional group that is all of a sub-pipeline; None where it is more."""
    tasks: list[Document] = list(component.get("dag", {}).get("tasks", {}).values())
    if len(tasks) != 1 or "condition" not in tasks[0].get("triggerPolicy", {}):
        return None
    return tasks[0]


def _renamed(found: Any, names: dict[str, str]) -> Any:
    """Return part of a pipeline with the group's names of its inputs replaced."""
    if isinstance(found, dict):
        return {key: _renamed(value, names) for key, value in found.items()}
    if isinstance(found, list):
        return [_renamed(value, names) for value in found]
    if isinstance(found, str) and _CHANNEL in found:
        if found in names:
            return names[found]
        for old, new in names.items():
            found = found.replace(f"'{old}'", f"'{new}'")
    return found


def _tasks(pipeline: Document) -> list[Document]:
    bodies = [pipeline["root"], *pipeline["components"].values()]
    return [task for body in bodies for task in body.get("dag", {}).get("tasks", {}).values()]
