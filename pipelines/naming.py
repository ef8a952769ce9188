"""The names that Kubeflow's page shows: each task with the model that it works for, `M_1 train`.

KFP's compiler names tasks after their components, `train` and `train-2`. Rounds that are named
share no group of tasks any more, but still every component that is a step. These names are for
people alone: since 2.17 at least, Kubeflow's drivers find a task's inputs by its key in the
pipeline, which Argo hands them as `--task_name`.
"""

from __future__ import annotations

import re
from typing import Any

Document = dict[str, Any]

_AGAIN = re.compile(r"-\d+$")
_ROUND = ("number", "iteration")
"""Inputs that are a task's t, as constants."""

_NAMES = {
    "iteration": "M_{t}",
    "roll-out": "M_{t} generate and translate",
    "conclude": "M_{t} gate and register",
    "prepare": "M_0 prepare",
    "resume-state": "resume",
    "check-inputs": "watch",
    "finish": "report",
}
"""By component; any other is the model and its own name."""


def name_tasks(pipeline: Document) -> None:
    """Give the tasks of a compiled pipeline the names that people call them by, in place.

    Args:
        pipeline: the PipelineSpec as a dictionary, its components not shared yet.
    """
    _name(pipeline, pipeline["root"], None)


def _name(pipeline: Document, component: Document, outer: int | None) -> None:
    for key, task in component.get("dag", {}).get("tasks", {}).items():
        own = _round_of(task)
        number = outer if own is None else own
        base = _AGAIN.sub("", key)
        inner = pipeline["components"][task["componentRef"]["name"]]
        known = _NAMES.get(base, "" if "dag" in inner else f"M_{{t}} {base}")
        if known and (number is not None or "{t}" not in known):
            task["taskInfo"]["name"] = known.format(t=number)
        _name(pipeline, inner, number)


def _round_of(task: Document) -> int | None:
    """Return the t that a task is given; None where it is given none, or only at run time."""
    given = task.get("inputs", {}).get("parameters", {})
    for name in _ROUND:
        constant = given.get(name, {}).get("runtimeValue", {}).get("constant")
        if isinstance(constant, int | float):
            return int(constant)
    return None
