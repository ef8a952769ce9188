"""Kubeflow's task details as the steps of iterations.

Kubeflow lists every node of the workflow: drivers, sub-pipelines, executors and the tasks
themselves, each with what comes after it or stands within it. The iteration of a task is the last
`iteration` sub-pipeline on the way to it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.shared.text import one_line
from pipelines.status import END, STEP_NAMES, STEPS, Row, State

_SUFFIX = re.compile(r"(-\d+)?(\(.*\))?$")
_ITERATION = re.compile(r"iteration(?:-(\d+))?")

_STATES: dict[str, State] = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "PAUSED": "waiting",
    "SUCCEEDED": "done",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "CANCELING": "cancelled",
    "CANCELED": "cancelled",
}

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
"""Kubeflow's state of a run, in lidr's words."""


@dataclass(frozen=True)
class Part:
    """One task: a step, or one shard of it.

    Attributes:
        iteration: t of the model it works for; END for the report.
        step: the step's name.
        state: how far it is.
        began: when it started, or None.
        ended: when it ended, or None.
        error: what Kubeflow says of its failure.
    """

    iteration: int
    step: str
    state: State
    began: datetime | None
    ended: datetime | None
    error: str = ""

    def seconds(self, now: datetime) -> float:
        """How long it has run."""
        if self.began is None or self.state == "waiting":
            return 0.0
        return max(0.0, ((self.ended or now) - self.began).total_seconds())


def step_of(name: str) -> str:
    """Return the step that a task's or node's name stands for, or ""."""
    plain = _SUFFIX.sub("", name)
    step = STEP_NAMES.get(plain, plain)
    return step if step in STEPS else ""


def place_of(path: str, first: int = 1) -> tuple[int, str] | None:
    """Return iteration and step out of a node's path in the workflow (`x.root.iteration-2.train`).

    Args:
        path: the annotation `workflows.argoproj.io/node-name` of a pod.
        first: the first iteration that the pipeline holds.
    """
    parts = path.split(".")
    rounds = [number for part in parts if (number := _round(part, first))]
    step = next((step for part in reversed(parts) if (step := step_of(part))), "")
    return (_iteration(step, max(rounds, default=0)), step) if step else None


def parts_of(run: Any, first: int = 1) -> list[Part]:
    """Return the tasks of a run (`V2beta1Run`) that are a step's.

    Args:
        run: with its details.
        first: the first iteration that its pipeline holds.
    """
    details = (run.run_details.task_details if run.run_details else None) or []
    rounds = _rounds(details, first)
    parts = []
    for task in details:
        step = step_of(task.display_name or "")
        state = _STATES.get(task.state or "PENDING")
        if not step or state is None:
            continue
        parts.append(
            Part(
                _iteration(step, rounds[task.task_id]),
                step,
                state,
                task.start_time,
                task.end_time if task.end_time and task.end_time.year > 1 else None,
                one_line(task.error.message or "") if task.error else "",
            )
        )
    return parts


def rows_of(parts: Iterable[Part], gpus: dict[str, int], now: datetime | None = None) -> list[Row]:
    """Return a row for each step; shards of a step are one row.

    Args:
        parts: the tasks.
        gpus: accelerators that one task of a step holds.
        now: the time until which those that run are counted.
    """
    grouped: dict[tuple[int, str], list[Part]] = defaultdict(list)
    for part in parts:
        grouped[part.iteration, part.step].append(part)
    moment = now or datetime.now(UTC)
    return [_row(*place, group, gpus, moment) for place, group in grouped.items()]


def _row(iteration: int, step: str, group: list[Part], gpus: dict[str, int], now: datetime) -> Row:
    seconds = [part.seconds(now) for part in group]
    done = sum(part.state == "done" for part in group)
    sharded = len(group) > 1
    return Row(
        iteration,
        step,
        _joint([part.state for part in group]),
        seconds=max(seconds),
        done=done if sharded else 0,
        total=len(group) if sharded else 0,
        unit="shards" if sharded else "",
        gpu_seconds=sum(seconds) * gpus.get(step, 0),
        note=next((part.error for part in group if part.state == "failed"), ""),
    )


def _joint(states: list[State]) -> State:
    """Return the state of a step that several shards do."""
    for state in ("failed", "cancelled", "running"):
        if state in states:
            return state
    if "waiting" in states:
        return "running" if "done" in states else "waiting"
    return "done" if "done" in states else "skipped"


def _iteration(step: str, found: int) -> int:
    return END if step == "report" else found


def _round(name: str, first: int) -> int:
    """Return the iteration that a sub-pipeline's name stands for, or 0."""
    match = _ITERATION.fullmatch(name.partition("(")[0])
    return int(match[1] or 1) + first - 1 if match else 0


def _rounds(details: list[Any], first: int) -> dict[str, int]:
    """Return, for each task, the highest iteration among itself and what leads to it."""
    ids = {task.pod_name: task.task_id for task in details if task.pod_name}
    children: dict[str, set[str]] = defaultdict(set)
    for task in details:
        if task.parent_task_id:
            children[task.parent_task_id].add(task.task_id)
        for child in task.child_tasks or []:
            children[task.task_id].add(child.task_id or ids.get(child.pod_name, ""))
    found = {task.task_id: _round(task.display_name or "", first) for task in details}
    fresh = [task for task, number in found.items() if number]
    while fresh:
        task = fresh.pop()
        for child in children[task]:
            if child in found and found[child] < found[task]:
                found[child] = found[task]
                fresh.append(child)
    return found
