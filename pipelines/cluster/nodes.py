"""The nodes of the Argo workflow that runs a pipeline, as Kubeflow reports them.

Kubeflow has two views of them. Its v1beta1 API returns the Workflow itself, with full names and
Argo's messages. The task details of v2beta1 have neither: only display names, and for each node the
ids of its children. An id is a hash of a full name, so names are found by hashing the possible
children, from the root down. Once Argo compresses a workflow's status (above 1 MiB), Kubeflow's
task details are no longer updated; the Workflow is.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.status import State

NodeState = State | Literal[""]
"""State of a node; "" if it was omitted."""

_STATES: dict[str, NodeState] = {
    "PENDING": "waiting",
    "PAUSED": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "SKIPPED": "skipped",
    "FAILED": "failed",
    "ERROR": "failed",
    "CANCELING": "cancelled",
    "CANCELED": "cancelled",
}
"""By Argo's phases and Kubeflow's states; omitted nodes have no state in Kubeflow."""

_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OSError,
    EOFError,
    RecursionError,
)
_NO_CAUSE = "No more retries left"
"""Argo's message on a node whose attempts have messages of their own."""

_ENDED = re.compile(r"exceeded (its|workflow) deadline")
"""Argo's message on a node that it ended because the workflow was asked to end."""

_ATTEMPT = re.compile(r"\((\d+)\)$")
_FNV_OFFSET, _FNV_PRIME = 0x811C9DC5, 0x01000193


@dataclass(frozen=True)
class WorkflowNode:
    """One node of a workflow: a task, its driver, its pod, or a group of them.

    Attributes:
        name: from the root, e.g. `x-7k2p(0).root(0).iteration(0).train(0).executor(0)`; `(0)` is
            the first attempt of what comes before it.
        state: its state; "" if it was omitted.
        began: when it started, or None.
        ended: when it ended, or None.
        message: Argo's message on it.
        pod: name of its pod; "" if it has none, or if the name is not known.
    """

    name: str
    state: NodeState
    began: datetime | None = None
    ended: datetime | None = None
    message: str = ""
    pod: str = ""

    @property
    def path(self) -> tuple[str, ...]:
        """The names on the path to it, without attempts; the workflow's own comes first."""
        return path_of(self.name)

    @property
    def attempt(self) -> int | None:
        """Which attempt of another node it is, from 0; None if it is no attempt or holds all."""
        found = _ATTEMPT.search(self.name)
        return int(found[1]) if found else None


def path_of(name: str) -> tuple[str, ...]:
    """Return the names on the path to a node, without attempts."""
    return tuple(_ATTEMPT.sub("", part) for part in name.split("."))


@dataclass(frozen=True)
class WorkflowGraph:
    """All that Kubeflow reports of the workflow behind a run.

    Attributes:
        nodes: its nodes.
        message: Argo's message on the whole, e.g. that it has grown too large.
        cancelled: whether it was asked to end; Kubeflow calls such a run failed once it has ended.
    """

    nodes: tuple[WorkflowNode, ...]
    message: str = ""
    cancelled: bool = False


def read_graph(client: Client, run: Any) -> WorkflowGraph:
    """Return a run's workflow; if it is not served, what the run's task details show of it.

    Args:
        run: `V2beta1Run`, with its details.
    """
    try:
        workflow = parse_workflow(client.workflow(run.run_id))
    except BadInput:  # an installation, or a proxy in front of it, serves only v2beta1
        workflow = WorkflowGraph(())
    known = task_graph(run)
    if not workflow.nodes:
        return known
    return replace(workflow, cancelled=workflow.cancelled or known.cancelled)


def parse_workflow(manifest: str) -> WorkflowGraph:
    """Read an Argo Workflow (JSON); one in an unknown form has no nodes."""
    try:
        workflow = json.loads(manifest)
        status, name = workflow["status"], str(workflow["metadata"]["name"])
        nodes = status.get("nodes") or json.loads(
            gzip.decompress(base64.b64decode(status["compressedNodes"]))
        )
        cancelled = workflow.get("spec", {}).get("activeDeadlineSeconds") == 0
        made = tuple(_node(name, node, cancelled) for node in nodes.values())
        return WorkflowGraph(made, _message(status), cancelled)
    except (*_UNREADABLE, zlib.error):
        return WorkflowGraph(())


def _node(workflow: str, node: dict[str, Any], cancelled: bool) -> WorkflowNode:
    name, message = str(node["name"]), _message(node)
    state = _STATES.get(str(node.get("phase", "")).upper(), "")
    template = str(node.get("templateName", ""))
    return WorkflowNode(
        name,
        _final_state(state, cancelled=cancelled and _ENDED.search(message) is not None),
        _parse_time(node.get("startedAt")),
        _parse_time(node.get("finishedAt")),
        message,
        pod_name(workflow, name, template) if node.get("type") == "Pod" else "",
    )


def _final_state(state: NodeState, *, cancelled: bool) -> NodeState:
    return "cancelled" if cancelled and state == "failed" else state


def _message(status: dict[str, Any]) -> str:
    message = one_line(str(status.get("message", "")))
    return "" if message == _NO_CAUSE else message


def pod_name(workflow: str, node: str, template: str) -> str:
    """Return the name that Argo gives a node's pod."""
    prefix = "-".join(part for part in (workflow, template) if part)
    return f"{prefix[:242]}-{_fnv1a(node)}"


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def task_graph(run: Any) -> WorkflowGraph:
    """Return the nodes of a run's task details whose full names can be found.

    Nodes without children whose display names are not unique are left out: they are pods, and the
    nodes above them have the same states.
    """
    details = (run.run_details and run.run_details.task_details) or []
    cancelled = any(
        each.state in ("CANCELING", "CANCELED") for each in run.state_history or [] if each
    )
    nodes = (_task_node(name, task, cancelled) for name, task in _NameFinder(details).find())
    return WorkflowGraph(tuple(nodes), "", cancelled)


def _task_node(name: str, task: Any, cancelled: bool) -> WorkflowNode:
    return WorkflowNode(
        name,
        _final_state(_STATES.get(task.state or "", ""), cancelled=cancelled),
        task.start_time,
        task.end_time if task.end_time and task.end_time.year > 1 else None,
        one_line((task.error.message if task.error else "") or ""),
    )


_Position = tuple[str, str, str]
"""A possible position of a node: its full name, its parent's full name, its display name."""


class _NameFinder:
    """Finds the full names of tasks from their display names and their children's ids."""

    def __init__(self, details: list[Any]) -> None:
        self._tasks: dict[str, list[tuple[list[str], Any]]] = defaultdict(list)
        """Children's ids and task, by display name."""
        for task in details:
            children = [child.pod_name for child in task.child_tasks or [] if child.pod_name]
            self._tasks[task.display_name or ""].append((children, task))
        ids = (
            child for found in self._tasks.values() for children, _ in found for child in children
        )
        self._workflow = next(ids, "").rpartition("-")[0]
        self._positions: dict[str, dict[str, _Position]] = {}
        """By scope (a full name) and node id."""

    def find(self) -> Iterator[tuple[str, Any]]:
        """Yield full name and task, from the root down."""
        open_positions: list[_Position] = [(self._workflow, "", self._workflow)]
        seen = set(open_positions)
        while open_positions:
            position = open_positions.pop()
            if (found := self._take_task(position)) is None:
                continue
            children, task = found
            yield position[0], task
            after = {known for child in children if (known := self._child(position, child))} - seen
            seen |= after
            open_positions += sorted(after)

    def _take_task(self, position: _Position) -> tuple[list[str], Any] | None:
        """Take the task at a position: the one whose children fit there, or the only one."""
        name, scope, display = position
        candidates = self._tasks[display]
        if len(candidates) == 1 and not candidates[0][0]:
            return candidates.pop()
        if not any(children for children, _ in candidates):
            return None
        for parent in (scope, name):  # the second is seldom needed
            for number, (children, _) in enumerate(candidates):
                if not self._positions_in(parent).keys().isdisjoint(children):
                    return candidates.pop(number)
        return None

    def _child(self, position: _Position, child: str) -> _Position | None:
        """Return the position of a node that follows, or is within, the one at a position."""
        name, scope, _ = position
        return self._positions_in(scope).get(child) or self._positions_in(name).get(child)

    def _positions_in(self, scope: str) -> dict[str, _Position]:
        """Return the positions of all nodes that may be in a scope, by id."""
        if scope not in self._positions:
            start = f"{scope}." if scope else ""
            before = _fnv1a(start)
            self._positions[scope] = {
                f"{self._workflow}-{_fnv1a(display, before)}": (start + display, scope, display)
                for display in list(self._tasks)
            }
        return self._positions[scope]


def _fnv1a(text: str, start: int = _FNV_OFFSET) -> int:
    """Return the FNV-1a hash (32 bits) of a text, continued from the hash of what comes before."""
    value = start
    for byte in text.encode():
        value = (value ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return value
