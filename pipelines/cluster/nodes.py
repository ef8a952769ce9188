"""The nodes of the Argo workflow that runs a pipeline, as Kubeflow reports them.

Kubeflow has two views of them. Its v1beta1 API hands out the Workflow itself, with whole names and
Argo's messages. The task details of v2beta1 have neither: display names only, and for each node the
ids of its children. An id is a hash of a whole name, so names are found by hashing what may come
next, from the root down. Once Argo compresses a workflow's status (above 1 MiB), Kubeflow's task
details stay as they were; the Workflow goes on.
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

Reached = State | Literal[""]
"""How far a node is; "" where it was left out."""

_STATES: dict[str, Reached] = {
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
"""Argo's phases and Kubeflow's states; what was omitted, Kubeflow leaves without a state."""

_UNREADABLE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OSError,
    EOFError,
    RecursionError,
)
_NO_CAUSE = ("No more retries left",)
"""What Argo says of a node whose attempts say more."""

_ENDED = re.compile(r"exceeded (its|workflow) deadline")
"""What Argo says of what it has ended because the whole was asked to end."""

_ATTEMPT = re.compile(r"\(\d+\)$")
_OFFSET, _PRIME = 0x811C9DC5, 0x01000193


@dataclass(frozen=True)
class WorkflowNode:
    """One node of a workflow: a task, its driver, its pod, or what groups them.

    Attributes:
        name: from the root, e.g. `x-7k2p(0).root(0).iteration(0).train(0).executor(0)`; `(0)` is
            the first attempt of what comes before it.
        state: how far it is; "" where it was left out.
        began: when it started, or None.
        ended: when it ended, or None.
        message: what Argo says of it.
        pod: name of its pod; "" for none, or where it is not known.
    """

    name: str
    state: Reached
    began: datetime | None = None
    ended: datetime | None = None
    message: str = ""
    pod: str = ""

    @property
    def path(self) -> tuple[str, ...]:
        """The names on the way to it, without attempts; the workflow's own comes first."""
        return path_of(self.name)

    @property
    def is_attempt(self) -> bool:
        """Whether it is one of the attempts at something."""
        return _ATTEMPT.search(self.name) is not None


def path_of(name: str) -> tuple[str, ...]:
    """Return the names on the way to a node, without attempts."""
    return tuple(_ATTEMPT.sub("", part) for part in name.split("."))


@dataclass(frozen=True)
class WorkflowGraph:
    """All that Kubeflow reports of the workflow behind a run.

    Attributes:
        nodes: its nodes.
        message: what Argo says of it as a whole, e.g. that it has grown too large.
        cancelled: whether it was asked to end; Kubeflow calls such a run failed once it has ended.
    """

    nodes: tuple[WorkflowNode, ...]
    message: str = ""
    cancelled: bool = False


def read_graph(client: Client, run: Any) -> WorkflowGraph:
    """Return a run's workflow; where it is not served, what the run's task details make of it.

    Args:
        client: the connection.
        run: `V2beta1Run`, with its details.
    """
    try:
        workflow = parse_workflow(client.workflow(run.run_id))
    except BadInput:  # an installation, or a proxy before it, that serves v2beta1 alone
        workflow = WorkflowGraph(())
    known = task_graph(run)
    if not workflow.nodes:
        return known
    return replace(workflow, cancelled=workflow.cancelled or known.cancelled)


def parse_workflow(manifest: str) -> WorkflowGraph:
    """Read an Argo Workflow (JSON); one in a shape that we do not know has no nodes."""
    try:
        workflow = json.loads(manifest)
        status, name = workflow["status"], str(workflow["metadata"]["name"])
        nodes = status.get("nodes") or _unpacked(status["compressedNodes"])
        cancelled = workflow.get("spec", {}).get("activeDeadlineSeconds") == 0
        made = tuple(_node(name, node, cancelled) for node in nodes.values())
        return WorkflowGraph(made, _message(status), cancelled)
    except (*_UNREADABLE, zlib.error):
        return WorkflowGraph(())


def _unpacked(packed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return found


def _node(workflow: str, node: dict[str, Any], cancelled: bool) -> WorkflowNode:
    name, message = str(node["name"]), _message(node)
    state = _STATES.get(str(node.get("phase", "")).upper(), "")
    template = str(node.get("templateName", ""))
    return WorkflowNode(
        name,
        _ended(state, cancelled=cancelled and _ENDED.search(message) is not None),
        _moment(node.get("startedAt")),
        _moment(node.get("finishedAt")),
        message,
        pod_name(workflow, name, template) if node.get("type") == "Pod" else "",
    )


def _ended(state: Reached, *, cancelled: bool) -> Reached:
    return "cancelled" if cancelled and state == "failed" else state


def _message(status: dict[str, Any]) -> str:
    message = one_line(str(status.get("message", "")))
    return "" if message in _NO_CAUSE else message


def pod_name(workflow: str, node: str, template: str) -> str:
    """Return the name that Argo gives to a node's pod."""
    prefix = "-".join(part for part in (workflow, template) if part)
    return f"{prefix[:242]}-{_hashed(node)}"


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def task_graph(run: Any) -> WorkflowGraph:
    """Return the nodes of a run's task details, as far as they can be named.

    A node without children, and with a display name that others have as well, stays unnamed: such
    are pods, whose states the nodes above them share.
    """
    details = (run.run_details and run.run_details.task_details) or []
    cancelled = any(
        each.state in ("CANCELING", "CANCELED") for each in run.state_history or [] if each
    )
    named = _Names(details).found()
    return WorkflowGraph(
        tuple(_named(name, task, cancelled) for name, task in named), "", cancelled
    )


def _named(name: str, task: Any, cancelled: bool) -> WorkflowNode:
    return WorkflowNode(
        name,
        _ended(_STATES.get(task.state or "", ""), cancelled=cancelled),
        task.start_time,
        task.end_time if task.end_time and task.end_time.year > 1 else None,
        one_line((task.error.message if task.error else "") or ""),
    )


_Place = tuple[str, str, str]
"""A possible position of a node: its whole name, its parent's whole name, its display name."""


class _Names:
    """Finds the whole names of tasks of which only display name and children's ids are known."""

    def __init__(self, details: list[Any]) -> None:
        self._tasks: dict[str, list[tuple[list[str], Any]]] = defaultdict(list)
        """Ids of children and task, by display name."""
        for task in details:
            children = [child.pod_name for child in task.child_tasks or [] if child.pod_name]
            self._tasks[task.display_name or ""].append((children, task))
        ids = (
            child for found in self._tasks.values() for children, _ in found for child in children
        )
        self._workflow = next(ids, "").rpartition("-")[0]
        self._tables: dict[str, dict[str, _Place]] = {}

    def found(self) -> Iterator[tuple[str, Any]]:
        """Yield whole name and task, from the root down."""
        fresh: list[_Place] = [(self._workflow, "", self._workflow)]
        seen = set(fresh)
        while fresh:
            place = fresh.pop()
            if (found := self._taken(place)) is None:
                continue
            children, task = found
            yield place[0], task
            after = {known for child in children if (known := self._child(place, child))} - seen
            seen |= after
            fresh += sorted(after)

    def _taken(self, place: _Place) -> tuple[list[str], Any] | None:
        """Take the task at a place: the one whose children may be there, or the only one."""
        name, scope, display = place
        candidates = self._tasks[display]
        if len(candidates) == 1 and not candidates[0][0]:
            return candidates.pop()
        if not any(children for children, _ in candidates):
            return None
        for table in (scope, name):  # the second is seldom needed
            for number, (children, _) in enumerate(candidates):
                if not self._table(table).keys().isdisjoint(children):
                    return candidates.pop(number)
        return None

    def _child(self, place: _Place, child: str) -> _Place | None:
        """Return the position of a node that follows, or is within, the one at a place."""
        name, scope, _ = place
        return self._table(scope).get(child) or self._table(name).get(child)

    def _table(self, scope: str) -> dict[str, _Place]:
        """Return all nodes that may be in a scope, by id."""
        if scope not in self._tables:
            start = f"{scope}." if scope else ""
            before = _hashed(start)
            self._tables[scope] = {
                f"{self._workflow}-{_hashed(display, before)}": (start + display, scope, display)
                for display in list(self._tasks)
            }
        return self._tables[scope]


def _hashed(text: str, start: int = _OFFSET) -> int:
    """Return the FNV-1a hash (32 bits) of a text, which may go on from that of its beginning."""
    value = start
    for byte in text.encode():
        value = (value ^ byte) * _PRIME & 0xFFFFFFFF
    return value
