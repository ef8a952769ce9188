"""The steps and iterations that a workflow's nodes belong to.

A task of a pipeline is several nodes: its driver, the task itself with its attempts, and within it
the executor with its pods. The outermost `iteration` sub-pipeline on a task's path is its
iteration.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from lidr.components.shared.kubernetes.pods import NORMAL_WAITS
from lidr.pipelines.cluster.nodes import WorkflowNode, path_of
from lidr.pipelines.status import END, SHOWN, STEP_NAMES, State, StepRow

_NUMBER = re.compile(r"-\d+$")
_ITERATION = re.compile(r"iteration(?:-(\d+))?")
_CONCLUSION = re.compile(r"conclude(?:-(\d+))?")
_PROMOTION = re.compile(r"(?:evaluate|judge)(?:-(\d+))?|(gate|promote)")
"""Tasks of a promotion that are about one model, directly in its root; the loop's are in groups."""
_DRIVER = "-driver"
_EARLIEST = datetime.min.replace(tzinfo=UTC)
RUN_STATES = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "PAUSED": "paused",
    "SUCCEEDED": "done",
    "SKIPPED": "done",
    "FAILED": "failed",
    "CANCELING": "being cancelled",
    "CANCELED": "cancelled",
}
"""lidr's state of a run, by Kubeflow's."""


@dataclass(frozen=True)
class StepTask:
    """A task of a step.

    Attributes:
        iteration: t of the model it works for; END for the report.
        step: the step's name.
        state: its state.
        began: when it started, or None.
        ended: when it ended, or None.
        error: Argo's message on why it failed or waits.
        pod: name of the pod that `error` is about; "" if it is not known.
    """

    iteration: int
    step: str
    state: State
    began: datetime | None
    ended: datetime | None
    error: str = ""
    pod: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "running")

    def seconds(self, now: datetime) -> float:
        """Return how many seconds it has run."""
        if self.began is None or self.state == "waiting":
            return 0.0
        return max(0.0, ((self.ended or now) - self.began).total_seconds())


def step_of_task(name: str) -> str:
    """Return the step that a task's name refers to, or ""."""
    plain = _NUMBER.sub("", name.partition("(")[0])
    step = STEP_NAMES.get(plain, plain)
    return step if step in SHOWN else ""


def step_at(name: str, first: int = 0, *, drivers: bool = False) -> tuple[int, str] | None:
    """Return the iteration and step of a node's name (`x.root.iteration-2.train`), or None.

    Args:
        name: also the annotation `workflows.argoproj.io/node-name` of a pod.
        first: the first iteration that the pipeline holds; 0 if it begins with M_0.
        drivers: whether a step's driver counts as the step.
    """
    path = path_of(name)
    if drivers:
        path = tuple(part.removesuffix(_DRIVER) for part in path)
    step = next((step for part in reversed(path) if (step := step_of_task(part))), "")
    return _placed(path, step, first) if step else None


def step_tasks(nodes: Iterable[WorkflowNode], first: int = 0) -> list[StepTask]:
    """Return the tasks of steps among a workflow's nodes.

    Args:
        nodes: of the workflow.
        first: the first iteration that its pipeline holds.
    """
    tasks: dict[tuple[str, ...], list[WorkflowNode]] = defaultdict(list)
    for node in nodes:
        if task := _task_of(node.path):
            tasks[task].append(node)
    found = (_step_task(task, group, first) for task, group in tasks.items())
    return [part for part in found if part]


def other_tasks(nodes: Iterable[WorkflowNode], state: State) -> dict[str, str]:
    """Return the tasks that belong to no step, and the drivers of groups, that failed or wait.

    Args:
        nodes: of the workflow.
        state: `failed` or `waiting`.

    Returns:
        Argo's message, which may be empty, by the task's name.
    """
    groups: dict[tuple[str, ...], list[WorkflowNode]] = defaultdict(list)
    for node in nodes:
        groups[node.path].append(node)
    found = [path for path, group in groups.items() if _is_in_state(group, state)]
    innermost = [path for path in found if not any(_within(other, path) for other in found)]
    return {
        own_name(path): next((n.message for n in groups[path] if n.message not in NORMAL_WAITS), "")
        for path in innermost
        if not _task_of(path)
    }


def _is_in_state(attempts: list[WorkflowNode], state: State) -> bool:
    """Return whether a node is in a state; it waits if one of its attempts does."""
    if state == "waiting":
        return any(node.state == state for node in attempts)
    return _overall_node(attempts).state == state


def is_driver(name: str) -> bool:
    """Return whether a node is one of Kubeflow's drivers, which prepare a task."""
    return path_of(name)[-1].endswith(_DRIVER)


def own_name(path: tuple[str, ...]) -> str:
    """Return the name of a node of the workflow, for messages."""
    own = path[-2] if path[-1] == "executor" and len(path) > 1 else path[-1]
    return f"the driver of {own.removesuffix(_DRIVER)}" if own.endswith(_DRIVER) else own


def _within(path: tuple[str, ...], group: tuple[str, ...]) -> bool:
    return len(path) > len(group) and path[: len(group)] == group


def _task_of(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path of the step's task that a node is or belongs to, or ()."""
    for length in range(len(path), 0, -1):
        name = path[length - 1].removesuffix(_DRIVER)
        if step_of_task(name):
            return (*path[: length - 1], name)
    return ()


def _step_task(task: tuple[str, ...], group: list[WorkflowNode], first: int) -> StepTask | None:
    """Return a task from its nodes; None if it was omitted, or its driver alone has ended."""
    own = _at(group, task)
    driver = _at(group, (*task[:-1], task[-1] + _DRIVER))
    state = _state(own, driver)
    if not state:
        return None
    cause = _cause(group, state)
    if state == "running" and cause:
        state = "waiting"
    shown = own if own and own.state else driver
    return StepTask(
        *_placed(task, step_of_task(task[-1]), first),
        state,
        shown.began if shown else None,
        shown.ended if shown else None,
        _message(cause),
        cause.pod if cause else "",
    )


def _at(group: list[WorkflowNode], path: tuple[str, ...]) -> WorkflowNode | None:
    found = [node for node in group if node.path == path]
    return _overall_node(found) if found else None


def _overall_node(attempts: list[WorkflowNode]) -> WorkflowNode:
    """Return the node that holds all attempts, or else the last attempt."""
    return max(attempts, key=lambda node: (node.attempt is None, node.attempt or 0))


def _state(own: WorkflowNode | None, driver: WorkflowNode | None) -> State | Literal[""]:
    if own and own.state:
        return own.state
    if driver and driver.state == "failed":
        return "failed"
    return "waiting" if driver and driver.state in ("waiting", "running") else ""


def _cause(group: list[WorkflowNode], state: str) -> WorkflowNode | None:
    """Return the node that has the reason why a task failed or waits: the newest, innermost one."""
    wanted = "failed" if state == "failed" else "waiting"
    if state not in ("failed", "running", "waiting"):
        return None
    found = [node for node in group if node.state == wanted and node.message not in NORMAL_WAITS]
    return max(found, key=lambda node: (node.began or _EARLIEST, node.name), default=None)


def _message(node: WorkflowNode | None) -> str:
    if node is None:
        return ""
    return f"its driver: {node.message}" if is_driver(node.name) else node.message


def rows_of(parts: Iterable[StepTask], now: datetime | None = None) -> list[StepRow]:
    """Return a row for each task; running ones are counted until `now`."""
    moment = now or datetime.now(UTC)
    return [
        StepRow(
            part.iteration,
            part.step,
            part.state,
            seconds=part.seconds(moment),
            note=part.error,
            pod=part.pod if part.state == "failed" else "",
        )
        for part in parts
    ]


def _placed(path: tuple[str, ...], step: str, first: int) -> tuple[int, str]:
    """Return iteration and step; tasks before the first iteration have 0.

    A promotion has its champion as iteration 1 and its challenger as 2 (pipelines/promote.py).
    """
    if step == "report":
        return END, step
    if path[1:2] == ("root",) and (task := _PROMOTION.fullmatch("".join(path[2:3]))):
        return 2 if task[2] else int(task[1] or 1), step
    if concluded := next(filter(None, map(_CONCLUSION.fullmatch, path)), None):
        number = first + int(concluded[1] or 1) - 1
        return number, step if number else "register"  # M_0 has no gate
    match = next(filter(None, map(_ITERATION.fullmatch, path)), None)
    return (max(first, 1) + int(match[1] or 1) - 1 if match else 0), step
