"""An Argo Workflow: its nodes, its size, and what of an iteration's time was not work."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Interval = tuple[float, float]
"""Begin and end, in seconds since 1970."""

ENDED = ("Succeeded", "Failed", "Error")
"""The phases of a Workflow that has ended."""

_ROUND = re.compile(r"\.iteration(?:-(\d+))?(-driver)?\(\d+\)")


@dataclass(frozen=True)
class PodNode:
    """A pod of a workflow.

    Attributes:
        path: the node's name, through the sub-pipelines, to the task.
        pod: the pod's name.
        begin: when it was started, in seconds since 1970.
        end: when it ended.
    """

    path: str
    pod: str
    begin: float
    end: float

    @property
    def iteration(self) -> int:
        """The iteration that it works for; 0 stands for before, between and after them."""
        found = _ROUND.search(self.path)
        return int(found[1] or 1) if found else 0

    @property
    def role(self) -> str:
        """`driver` or `executor`."""
        return "driver" if "driver" in self.path.rsplit(".", 1)[-1] else "executor"


def seconds_of(stamp: str) -> float:
    """Return a time as Kubernetes writes it in seconds since 1970."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def nodes_of(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a workflow's nodes, which Argo compresses when they are many."""
    status = workflow.get("status", {})
    if packed := status.get("compressedNodes"):
        found: dict[str, dict[str, Any]] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return found
    return dict(status.get("nodes", {}))


def pods_of(workflow: dict[str, Any]) -> list[PodNode]:
    """Return the pods of a workflow that have ended, by when they began."""
    name = workflow["metadata"]["name"]
    found = [
        PodNode(
            node["name"],
            pod_name(name, node),
            seconds_of(node["startedAt"]),
            seconds_of(node["finishedAt"]),
        )
        for node in nodes_of(workflow).values()
        if node["type"] == "Pod" and node.get("startedAt") and node.get("finishedAt")
    ]
    return sorted(found, key=lambda pod: pod.begin)


def pod_name(workflow: str, node: dict[str, Any]) -> str:
    """Return a node's pod's name, as Argo's naming v2 makes it."""
    suffix = node["id"].rsplit("-", 1)[-1]
    prefix = f"{workflow}-{node.get('templateName', '')}"[: 253 - len(suffix) - 1]
    return f"{prefix}-{suffix}"


def stored_bytes(raw: str) -> int:
    """Return what a Workflow takes in etcd, where custom resources are kept as compact JSON.

    Argo keeps the nodes as they are while the Workflow is below its limit, and compresses them from
    then on: what must stay below the limit is the compressed form, and that is what is counted.

    Args:
        raw: the Workflow as the API server returns it.
    """
    workflow = json.loads(raw)
    status = workflow.get("status", {})
    if nodes := status.pop("nodes", None):
        packed = gzip.compress(_compact(nodes), 6)  # as Go does
        status["compressedNodes"] = base64.b64encode(packed).decode()
    return len(_compact(workflow))


def _compact(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


def covered(intervals: Iterable[Interval], window: Interval) -> float:
    """Return for how many seconds of a window at least one interval was under way."""
    total, reached = 0.0, window[0]
    for begin, end in sorted(intervals):
        begin, end = max(begin, reached), min(end, window[1])
        if end > begin:
            total, reached = total + end - begin, end
    return total


def window_of(pods: Iterable[PodNode], number: int) -> Interval:
    """Return when an iteration began, and when what comes after it and its bookkeeping did.

    Args:
        pods: of the workflow, by when they began.
        number: of the iteration, from 1.
    """
    every = list(pods)
    own = [pod for pod in every if pod.iteration == number]
    begin, last = min(pod.begin for pod in own), max(pod.end for pod in own)
    later = [pod for pod in every if pod.begin >= last and _ends_iteration(pod, number)]
    return begin, min((pod.begin for pod in later), default=max(pod.end for pod in every))


def _ends_iteration(pod: PodNode, number: int) -> bool:
    return pod.iteration > number or ".onExit" in pod.path


_LINE = re.compile(
    r"^(\S+Z) (?:\x1b\[[0-9;]*m)*"
    r"(lidr started|lidr finished|lidr failed|lidr note .*TrainJob \S+ made|\[rank0\])",
    re.MULTILINE,
)


def worked(log: str) -> list[Interval]:
    """Return when a step's own code was at work, from its pod's log with time stamps.

    From the making of a TrainJob to its first rank's first words nothing is at work.
    """
    found, begin = [], 0.0
    for stamp, event in _LINE.findall(log):
        at = seconds_of(re.sub(r"(\.\d{6})\d*Z", r"\1Z", stamp))
        if event in ("lidr started", "[rank0]"):
            begin = begin or at
        elif begin:
            found.append((begin, at))
            begin = 0.0
    return found
