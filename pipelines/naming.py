"""Names the tasks that Kubeflow's page shows after their models, e.g. `M_1 train`.

KFP's compiler names tasks after their components, `train` and `train-2`. With the names set here,
rounds no longer share groups of tasks, but they still share the components of steps. Only people
read the names: since 2.17 at least, Kubeflow's drivers find a task's inputs by its key in the
pipeline, which Argo passes as `--task_name`.
"""

from __future__ import annotations

import re

from lidr.pipelines.sharing import Document

_NUMBER = re.compile(r"-\d+$")
_ITERATION_INPUTS = ("number", "iteration")
"""Inputs that hold a task's t, as constants."""

_NAMES = {
    "iteration": "M_{t}",
    "roll-out": "M_{t} generate and translate",
    "conclude": "M_{t} gate and register",
    "prepare": "M_0 prepare",
    "resume-state": "resume",
    "check-inputs": "watch",
    "finish": "report",
}
"""By component; the others are named `M_{t}` and the component."""


def name_tasks(pipeline: Document) -> None:
    """Set the display names of a compiled pipeline's tasks, in place.

    Args:
        pipeline: the PipelineSpec as a dictionary, its components not shared yet.
    """
    _name(pipeline, pipeline["root"], None)


def _name(pipeline: Document, component: Document, outer: int | None) -> None:
    for key, task in component.get("dag", {}).get("tasks", {}).items():
        own = _iteration_of(task)
        number = outer if own is None else own
        base = _NUMBER.sub("", key)
        inner = pipeline["components"][task["componentRef"]["name"]]
        known = _NAMES.get(base, "" if "dag" in inner else f"M_{{t}} {base}")
        if known and (number is not None or "{t}" not in known):
            task["taskInfo"]["name"] = known.format(t=number)
        _name(pipeline, inner, number)


def _iteration_of(task: Document) -> int | None:
    """Return the t that is an input of a task; None if it has none, or only at run time."""
    given = task.get("inputs", {}).get("parameters", {})
    for name in _ITERATION_INPUTS:
        constant = given.get(name, {}).get("runtimeValue", {}).get("constant")
        if isinstance(constant, int | float):
            return int(constant)
    return None
