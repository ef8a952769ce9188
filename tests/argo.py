"""The workflow behind a run as Argo and Kubeflow Pipelines make it: nodes, tasks, pods.

A pipeline's task is a driver (a pod) and a group that holds the executor (a pod); Kubeflow's
configuration of Argo wraps each of these into a node that counts attempts, `x` around `x(0)`.
tests/pipelines/test_recordings.py holds what is made here against recordings of the real ones.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

Object = dict[str, Any]

DRIVER_SECONDS = 10
_LIVE = ("Pending", "Running")
_CUT_SHORT = "retry exceeded workflow deadline 2026-11-29 17:09:00 +0000 UTC"


@dataclass
class _Task:
    """A task or group of tasks, at its place in the workflow.

    Attributes:
        name: of the node that counts its attempts.
        last: of the node that others come after.
        inside: of the node that holds what stands within.
        within: those that stand within, in order.
    """

    name: str
    last: str
    inside: str = ""
    within: list[str] = field(default_factory=list)


class Workflow:
    """A workflow that a test lays out, task by task in the order they start.

    Args:
        run_id: of the Kubeflow run.
        name: of the workflow.
        namespace: of its pods.
        began: when it started.
    """

    def __init__(
        self,
        run_id: str,
        name: str = "lidr-tiny-world-x7k2p",
        namespace: str = "lidr",
        began: datetime | None = None,
    ) -> None:
        self.run_id, self.name, self.namespace = run_id, name, namespace
        self.clock = (began or datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
        self.nodes: dict[str, Object] = {}
        self.message = ""
        self.cancelled = False
        self.called: dict[str, str] = {}
        """What Argo calls a group, by its path, where that does not follow from what is in it."""
        self._tasks: dict[str, _Task] = {}
        self._order: list[tuple[str, str]] = []
        """A task's path, and the driver's node that follows it."""
        self._open("", name, name, "", "entrypoint")

    def group(
        self,
        path: str,
        *,
        after: tuple[str, ...] | None = None,
        template: str = "",
        omitted: bool = False,
    ) -> str:
        """Add a sub-pipeline, an If or an exit handler; return its path.

        Args:
            path: from the root, e.g. `root.exit-handler-1.iteration.condition-1`.
            after: the tasks of the same group that it follows; None is the one before it.
            template: its name in Argo.
            omitted: whether it was left out.
        """
        if path in self._tasks:
            return path
        outer, _, own = path.rpartition(".")
        if outer:
            self.group(outer)
        if own == "onExit":
            return self._exit_group(path, outer, template)
        scope = self._tasks[outer]
        name, template = f"{scope.inside}.{own}", template or f"comp-{own}"
        phase = "Omitted" if omitted else "Succeeded"
        driver = self._pod(f"{name}-driver", "system-dag-driver", phase, "", DRIVER_SECONDS)
        self._follow(outer, own, driver, after)
        if omitted:
            self._skip(path, name, template, driver)
        else:
            self._open(path, name, own, scope.inside, template)
            self._link(f"{driver}(0)", name)
        return path

    def _exit_group(self, path: str, outer: str, template: str) -> str:
        handler = self._tasks[outer]
        name, own = f"{handler.name}.onExit", f"{outer.rpartition('.')[2]}.onExit"
        scope = self._tasks[outer.rpartition(".")[0]].inside
        self._open(path, name, own, scope, template or "exit-hook-root")
        self._link(handler.name, name)
        self._tasks[outer].last = name  # what follows the handler follows its exit task
        return path

    def task(
        self,
        path: str,
        phase: str = "Succeeded",
        *,
        after: tuple[str, ...] | None = None,
        seconds: float = 60,
        message: str = "",
        driver: str = "Succeeded",
        template: str = "retry-system-container",
    ) -> str:
        """Add a task; return the name of its pod, its driver's where it has got no further.

        Args:
            path: from the root, e.g. `root.exit-handler-1.iteration.condition-1.train`.
            phase: Argo's: Succeeded, Failed, Error, Running, Pending or Omitted.
            after: the tasks of the same group that it follows; None is the one before it.
            seconds: that it took, or has been running for.
            message: what Argo says of its pod.
            driver: phase of its driver, which gets the message where that has failed or waits.
            template: beginning of its executor's name in Argo.
        """
        outer, _, own = path.rpartition(".")
        scope = self._tasks[self.group(outer)]
        name = f"{scope.inside}.{own}"
        if phase == "Omitted" and driver == "Succeeded":
            driver = "Omitted"
        told = message if driver != "Succeeded" else ""
        gate = self._pod(f"{name}-driver", "system-container-driver", driver, told, DRIVER_SECONDS)
        self._follow(outer, own, gate, after)
        if driver == "Succeeded":
            self._link(f"{gate}(0)", name)
            return self._work(path, own, name, phase, message, seconds, template)
        if driver not in _LIVE:
            self._skip(
                path, name, f"{template}-executor", gate if driver == "Omitted" else f"{gate}(0)"
            )
        return self._pod_name(f"{gate}(0)")

    def _work(
        self,
        path: str,
        own: str,
        name: str,
        phase: str,
        message: str,
        seconds: float,
        template: str,
    ) -> str:
        scope = self._tasks[path.rpartition(".")[0]].inside
        if phase in _LIVE:
            self.clock = datetime.now(UTC) - timedelta(seconds=seconds)
        self._open(path, name, own, scope, f"{template}-executor")
        pod = self._pod(f"{name}(0).executor", f"{template}-impl", phase, message, seconds)
        self._link(f"{name}(0)", pod)
        return self._pod_name(f"{pod}(0)")

    def _open(self, path: str, name: str, own: str, scope: str, template: str) -> None:
        """Add the two nodes of a group; their phases and ends follow from what is in it."""
        self._tasks[path] = _Task(name, f"{name}(0)", f"{name}(0)")
        self._node(name, own, "Retry", scope, template, "")
        self._node(f"{name}(0)", f"{own}(0)", "DAG", scope, template, "")
        self._link(name, f"{name}(0)")

    def _pod(self, name: str, template: str, phase: str, message: str, seconds: float) -> str:
        """Add a pod's node, and the one around it."""
        scope, _, own = name.rpartition(".")
        if phase == "Omitted":
            self._skipped(name, template)
            return name
        outer = "Running" if phase in _LIVE else "Failed" if phase == "Error" else phase
        said = message if phase not in _LIVE else ""
        self._node(name, own, "Retry", scope, template, outer, said)
        self._node(f"{name}(0)", f"{own}(0)", "Pod", scope, template, phase, message)
        self._link(name, f"{name}(0)")
        self.clock += timedelta(seconds=seconds)
        if phase not in _LIVE:
            for node in (name, f"{name}(0)"):
                self.nodes[node]["finishedAt"] = _stamp(self.clock)
        return name

    def _skip(self, path: str, name: str, template: str, driver: str) -> None:
        self._tasks[path] = _Task(name, name)
        self._skipped(name, template)
        self._link(driver, name)

    def _skipped(self, name: str, template: str) -> None:
        scope, _, own = name.rpartition(".")
        why = "omitted: depends condition not met"
        self._node(name, own, "Skipped", scope, template, "Omitted", why)
        self.nodes[name]["finishedAt"] = _stamp(self.clock)

    def _node(
        self,
        name: str,
        own: str,
        kind: str,
        scope: str,
        template: str,
        phase: str,
        message: str = "",
    ) -> None:
        node = {
            "id": self._id(name),
            "name": name,
            "displayName": own,
            "type": kind,
            "templateName": template,
            "templateScope": f"local/{self.name}",
            "phase": phase,
            "startedAt": _stamp(self.clock),
            "finishedAt": None,
        }
        said = {"message": message} if message else {}
        self.nodes[name] = node | said | ({"boundaryID": self._id(scope)} if scope else {})

    def _follow(self, outer: str, own: str, driver: str, after: tuple[str, ...] | None) -> None:
        """Let a task's driver follow what stands before it in its group."""
        scope = self._tasks[outer]
        before = scope.within[-1:] if after is None else list(after)
        self._order += [(f"{outer}.{each}" if outer else each, driver) for each in before]
        if not before:
            self._link(scope.inside, driver)
        scope.within.append(own)

    def _link(self, before: str, after: str) -> None:
        self.nodes[before].setdefault("children", []).append(self._id(after))

    def _id(self, name: str) -> str:
        return name if name == self.name else f"{self.name}-{fnv(name)}"

    def _pod_name(self, node: str) -> str:
        found = self.nodes.get(node)
        return f"{self.name}-{found['templateName']}-{fnv(node)}" if found else ""

    def settled(self) -> dict[str, Object]:
        """Return the nodes by id; groups have the phases and ends of what is in them."""
        found = {node["id"]: dict(node) for node in self.nodes.values()}
        for before, driver in self._order:
            last = found[self._id(self._tasks[before].last)]
            last["children"] = [*last.get("children", []), self._id(driver)]
        for path, group in sorted(self._tasks.items(), reverse=True):  # what is within comes first
            if group.inside:
                inner = [n for n in found.values() if n["name"].startswith(f"{group.inside}.")]
                phase = self.called.get(path) or _phase(inner)
                ends = [node["finishedAt"] for node in inner]
                ended = max(ends) if phase not in _LIVE and ends and all(ends) else None
                for name in (group.name, group.inside):
                    found[self._id(name)] |= {"phase": phase, "finishedAt": ended}
                if self.cancelled and phase == "Failed":
                    found[self._id(group.name)]["message"] = _CUT_SHORT
        return found

    def manifest(self, *, compressed: bool = False) -> Object:
        """Return the Workflow, as Kubeflow keeps it; a large one has its nodes compressed."""
        nodes = self.settled()
        root = nodes[self.name]
        status: Object = {
            "phase": root["phase"],
            "startedAt": root["startedAt"],
            "finishedAt": root["finishedAt"],
        }
        if compressed:
            packed = gzip.compress(json.dumps(nodes).encode())
            status["compressedNodes"] = base64.b64encode(packed).decode()
        else:
            status["nodes"] = nodes
        metadata = {
            "name": self.name,
            "namespace": self.namespace,
            "creationTimestamp": root["startedAt"],
            "labels": {"pipeline/runid": self.run_id},
            "annotations": {"workflows.argoproj.io/pod-name-format": "v2"},
        }
        told = {"message": self.message} if self.message else {}
        spec = {"activeDeadlineSeconds": 0} if self.cancelled else {}
        return {"metadata": metadata, "spec": spec, "status": status | told}


def pod_metadata(run_id: str, node: str, template: str) -> Object:
    """Return the metadata of a node's pod."""
    workflow = node.partition("(")[0]
    role = "driver" if template.endswith("-driver") else "launcher"
    hooked = {"workflows.argoproj.io/on-exit": "true"} if ".onExit" in node else {}
    return {
        "name": f"{workflow}-{template}-{fnv(node)}",
        "labels": {
            "pipeline/runid": run_id,
            "pipelines.kubeflow.org/v2_component": "true",
            "workflows.argoproj.io/completed": "false",
            "workflows.argoproj.io/workflow": workflow,
            **hooked,
        },
        "annotations": {
            "kubectl.kubernetes.io/default-container": "main",
            "pipelines.kubeflow.org/runtime-role": role,
            "pipelines.kubeflow.org/v2_component": "true",
            "sidecar.istio.io/inject": "false",
            "workflows.argoproj.io/node-id": f"{workflow}-{fnv(node)}",
            "workflows.argoproj.io/node-name": node,
        },
    }


def fnv(text: str) -> int:
    """Return the hash that Argo makes ids of (FNV-1a, 32 bits)."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) % 2**32
    return value


def _phase(nodes: list[Object]) -> str:
    phases = {node["phase"] for node in nodes}
    if phases & {"Failed", "Error"}:
        return "Failed"
    return "Running" if phases & {"Running", "Pending", ""} or not phases else "Succeeded"


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
