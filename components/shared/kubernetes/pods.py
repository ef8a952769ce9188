"""Reads the state of pods: why they wait, and why they failed.

Pods are the API server's JSON (core/v1 Pod).
"""

from __future__ import annotations

import re
from typing import Any

Pod = dict[str, Any]

CONTAINER = "node"
"""Name of the trainer's container, and of its replicated job, in the TrainingRuntime."""

_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"
_ATTEMPT_LABEL = "jobset.sigs.k8s.io/restart-attempt"
_ROLE_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"

_INSUFFICIENT = re.compile(
    r"(?:Insufficient|insufficient quota for|insufficient unused quota for) ([\w./-]+)"
)
NORMAL_WAITS = ("", "ContainerCreating", "PodInitializing")
"""Waiting reasons of a pod that is about to start."""


def name_of(pod: Pod) -> str:
    """Return a pod's name."""
    return str(pod["metadata"]["name"])


def nodes_of(pods: list[Pod]) -> dict[int, Pod]:
    """Return the newest trainer pod of each node, by node rank."""
    trainers = [pod for pod in pods if _labels(pod).get(_ROLE_LABEL) == CONTAINER]
    trainers.sort(key=lambda pod: (attempt_of(pod), pod["metadata"].get("creationTimestamp", "")))
    return {int(_labels(pod).get(_INDEX_LABEL, 0)): pod for pod in trainers}


def attempt_of(pod: Pod) -> int:
    """Return how often the job's pods had been restarted when this pod was made."""
    return int(_labels(pod).get(_ATTEMPT_LABEL, 0))


def is_running(pod: Pod, container: str = CONTAINER) -> bool:
    """Return whether a container of a pod runs; by default the trainer's."""
    return "running" in _container(pod, container).get("state", {})


def has_ended(pod: Pod) -> bool:
    """Return whether the pod has succeeded or failed."""
    return _status(pod).get("phase") in ("Succeeded", "Failed")


def has_succeeded(pod: Pod) -> bool:
    """Return whether all containers of the pod have exited with 0."""
    return bool(_status(pod).get("phase") == "Succeeded")


def is_gated(pod: Pod) -> bool:
    """Return whether a scheduling gate, e.g. a queue's, keeps the pod from being scheduled."""
    return any(
        condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated"
        for condition in _conditions(pod)
    )


def why_waiting(pod: Pod, container: str = CONTAINER) -> str:
    """Return why a pod does not run; "" if it does, has ended, or is about to start."""
    if is_running(pod, container) or has_ended(pod):
        return ""
    if condition := _condition(pod, "PodScheduled", "False"):
        return _unscheduled(condition)
    if reason := _why_not_started(_container(pod, container)):
        return reason
    for status in _status(pod).get("initContainerStatuses", []):
        if reason := _why_not_started(status):
            return f"{status['name']}: {reason}"
    return ""


def _why_not_started(status: dict[str, Any]) -> str:
    waiting = status.get("state", {}).get("waiting", {})
    if waiting.get("reason", "") in NORMAL_WAITS:
        return ""
    return _joined(waiting["reason"], waiting.get("message", ""))


def is_scheduled(pod: Pod) -> bool:
    """Return whether a node has been chosen for the pod."""
    return _condition(pod, "PodScheduled", "True") is not None


def missing_resources(message: str) -> list[str]:
    """Return the resources that are insufficient according to the scheduler or Kueue."""
    return sorted({name.rstrip(".") for name in _INSUFFICIENT.findall(message)})


def why_failed(pod: Pod, container: str = CONTAINER) -> str:
    """Return why a pod failed, e.g. "OOMKilled (exit code 137)"; "" if it did not.

    A reason of the pod as a whole counts first, e.g. its eviction; then `container`; then the other
    containers: one that initializes, or Argo's, which uploads the step's outputs.
    """
    ended = _container(pod, container).get("state", {}).get("terminated")
    status = _status(pod)
    if status.get("phase") != "Failed" and not (ended and ended.get("exitCode")):
        return ""
    if reason := status.get("reason"):  # Evicted, Preempting, NodeLost: the pod as a whole
        return _joined(reason, status.get("message", ""))
    if condition := _condition(pod, "DisruptionTarget", "True"):
        return _joined(condition.get("reason", "disrupted"), condition.get("message", ""))
    if ended and ended.get("exitCode"):
        return _exit(ended)
    for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        other = each.get("state", {}).get("terminated") or {}
        if other.get("exitCode"):
            return _joined(f"{each['name']}: {_exit(other)}", other.get("message", "").strip())
    return "failed without a reason"


def _exit(terminated: dict[str, Any]) -> str:
    return f"{terminated.get('reason') or 'Error'} (exit code {terminated.get('exitCode')})"


def is_disrupted(pod: Pod) -> bool:
    """Return whether the cluster removes the pod: eviction, preemption, a drained node."""
    return _condition(pod, "DisruptionTarget", "True") is not None


def _unscheduled(condition: dict[str, Any]) -> str:
    message = condition.get("message", "")
    missing = missing_resources(message)
    if missing:
        return _joined(f"unschedulable, too little {' and '.join(missing)}", message)
    reason = condition.get("reason", "")
    if reason == "SchedulingGated":
        return _joined("held by a scheduling gate", message)
    what = "unschedulable" if reason in ("", "Unschedulable") else f"unschedulable, {reason}"
    return _joined(what, message)


def _joined(reason: str, message: str) -> str:
    return f"{reason}: {message}" if message else reason


def _labels(pod: Pod) -> dict[str, str]:
    labels: dict[str, str] = pod["metadata"].get("labels", {})
    return labels


def _status(pod: Pod) -> dict[str, Any]:
    status: dict[str, Any] = pod.get("status", {})
    return status


def _conditions(pod: Pod) -> list[dict[str, Any]]:
    conditions: list[dict[str, Any]] = _status(pod).get("conditions", [])
    return conditions


def _condition(pod: Pod, kind: str, status: str) -> dict[str, Any] | None:
    found = (each for each in _conditions(pod) if (each["type"], each["status"]) == (kind, status))
    return next(found, None)


def _container(pod: Pod, name: str) -> dict[str, Any]:
    statuses = _status(pod).get("containerStatuses", [])
    return next((each for each in statuses if each["name"] == name), {})
