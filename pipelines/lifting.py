"""Moves conditions from groups of tasks onto the tasks themselves.

For each group KFP starts a driver pod, which takes about ten seconds. The SDK cannot put a
condition on a task, but the backend allows it. A sub-pipeline that is one `dsl.If` is two groups.
Its condition moves to the task that calls the sub-pipeline and, if no other task depends on that
task, on to the first tasks inside. If a condition does not hold, Argo omits the task and all that
follow it.
"""

from __future__ import annotations

import copy
from typing import Any

from lidr.pipelines.sharing import Document, all_tasks

_CHANNEL = "pipelinechannel--"


def lift_conditions(pipeline: Document) -> None:
    """Move the condition of each sub-pipeline that is one `dsl.If` to its callers, in place.

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
        for task in all_tasks(pipeline):
            if task["componentRef"]["name"] == name:
                task["triggerPolicy"] = dict(policy)
    _drop_unused(pipeline)


def inline_groups(pipeline: Document) -> None:
    """Replace each conditional group that no task depends on with its tasks, in place.

    The group's first tasks get its condition, and Argo omits the others with them. A group stays if
    the name of one of its tasks is taken, or one of its first tasks has a condition already.

    Args:
        pipeline: the PipelineSpec as a dictionary, after `lift_conditions`.
    """
    components = pipeline["components"]
    for body in [pipeline["root"], *components.values()]:
        tasks = body.get("dag", {}).get("tasks", {})
        for key, group in list(tasks.items()):
            inner = components[group["componentRef"]["name"]].get("dag", {}).get("tasks", {})
            if _can_inline(key, tasks, inner):
                del tasks[key]
                tasks.update({name: _inlined(task, group) for name, task in inner.items()})
    _drop_unused(pipeline)


def _can_inline(key: str, tasks: Document, inner: Document) -> bool:
    conditional = "condition" in tasks[key].get("triggerPolicy", {})
    followed = any(key in task.get("dependentTasks", ()) for task in tasks.values())
    first = [task for task in inner.values() if not task.get("dependentTasks")]
    free = not any("triggerPolicy" in task for task in first) and not inner.keys() & tasks.keys()
    return bool(inner) and conditional and not followed and free


def _inlined(task: Document, group: Document) -> Document:
    """Return a task of a group as it is outside the group."""
    inlined = copy.deepcopy(task)
    given = group["inputs"]["parameters"]
    parameters = inlined.setdefault("inputs", {}).setdefault("parameters", {})
    before = set(inlined.get("dependentTasks", ()))
    for name, value in parameters.items():
        if "componentInputParameter" in value:
            parameters[name] = value = copy.deepcopy(given[value["componentInputParameter"]])
        if "taskOutputParameter" in value:
            before.add(value["taskOutputParameter"]["producerTask"])
    if not task.get("dependentTasks"):
        before |= set(group.get("dependentTasks", ()))
        inlined["triggerPolicy"] = copy.deepcopy(group["triggerPolicy"])
        for name, value in given.items():
            if f"['{name}']" in group["triggerPolicy"]["condition"]:
                parameters[name] = copy.deepcopy(value)
    if before:
        inlined["dependentTasks"] = sorted(before)
    return inlined


def _drop_unused(pipeline: Document) -> None:
    used = {task["componentRef"]["name"] for task in all_tasks(pipeline)}
    for name in pipeline["components"].keys() - used:
        del pipeline["components"][name]


def _only_group(component: Document) -> Document | None:
    """Return the conditional group that a sub-pipeline consists of; None if there is more."""
    tasks: list[Document] = list(component.get("dag", {}).get("tasks", {}).values())
    if len(tasks) != 1 or "condition" not in tasks[0].get("triggerPolicy", {}):
        return None
    return tasks[0]


def _renamed(found: Any, names: dict[str, str]) -> Any:
    """Return part of a pipeline with a group's names of inputs replaced by the caller's."""
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
