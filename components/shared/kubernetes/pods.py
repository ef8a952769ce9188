"""What pods say about themselves: why they wait, and why they died.

Pods come as the API server's JSON (core/v1 Pod).
"""

from __future__ import annotations

import re
from typing import Any

Pod = dict[str, Any]

CONTAINER = "node"
"""Name of the trainer's container, and of its replicated job, in the TrainingRuntime."""

INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
JOBSET_LABEL = "jobset.sigs.k8s.io/jobset-name"
ATTEMPT_LABEL = "jobset.sigs.k8s.io/restart-attempt"
_ROLE_LABEL = "jobset.sigs.k8s.io/replicatedjob-name"

_INSUFFICIENT = re.compile(
    r"(?:Insufficient|insufficient quota for|insufficient unused quota for)"
    r" ([\w./-]+)"
)
_NORMAL_WAITS = ("", "ContainerCreating", "PodInitializing")


def name_of(pod: Pod) -> str:
    """Return a pod's name."""
    return str(pod["metadata"]["name"])


def nodes_of(pods: list[Pod]) -> dict[int, Pod]:
    """Return the newest trainer pod of each node, by node rank."""
    trainers = [pod for pod in pods if _labels(pod).get(_ROLE_LABEL) == CONTAINER]
    trainers.sort(key=lambda pod: (attempt_of(pod), pod["metadata"].get("creationTimestamp", "")))
    return {int(_labels(pod).get(INDEX_LABEL, 0)): pod for pod in trainers}


def attempt_of(pod: Pod) -> int:
    """Return how often the job's pods had been restarted when this pod was made."""
    return int(_labels(pod).get(ATTEMPT_LABEL, 0))


def is_running(pod: Pod, container: str = CONTAINER) -> bool:
    """Return whether a container of a pod runs; by default the trainer's."""
    return "running" in _container(pod, container).get("state", {})


def has_ended(pod: Pod) -> bool:
    """Return whether the pod has come to an end, well or not."""
    return _status(pod).get("phase") in ("Succeeded", "Failed")


def is_gated(pod: Pod) -> bool:
    """Return whether the scheduler does not look at the pod yet, as where a queue holds it."""
    return any(
        condition["type"] == "PodScheduled" and condition.get("reason") == "SchedulingGated"
        for condition in _conditions(pod)
    )


def why_waiting(pod: Pod, container: str = CONTAINER) -> str:
    """Return why a pod does not run, or "" where it does or only needs a moment."""
    if is_running(pod, container) or has_ended(pod):
        return ""
    for condition in _conditions(pod):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _unscheduled(condition)
    waiting = _container(pod, container).get("state", {}).get("waiting", {})
    if waiting.get("reason", "") in _NORMAL_WAITS:
        return ""
    return _joined(waiting["reason"], waiting.get("message", ""))


def missing_resources(message: str) -> list[str]:
    """Return the resources that the scheduler or Kueue found too few of."""
    return sorted({name.rstrip(".") for name in _INSUFFICIENT.findall(message)})


def why_dead(pod: Pod, container: str = CONTAINER) -> str:
    """Return why a pod failed, e.g. "OOMKilled (exit code 137)", or "" where it did not."""
    ended = _container(pod, container).get("state", {}).get("terminated")
    status = _status(pod)
    if status.get("phase") != "Failed" and not (ended and ended.get("exitCode")):
        return ""
    if reason := status.get("reason"):  # Evicted, Preempting, NodeLost: the pod as a whole
        return _joined(reason, status.get("message", ""))
    for condition in _conditions(pod):
        if condition["type"] == "DisruptionTarget" and condition["status"] == "True":
            return _joined(condition.get("reason", "disrupted"), condition.get("message", ""))
    if not ended:
        return "failed without a reason"
    return f"{ended.get('reason') or 'Error'} (exit code {ended.get('exitCode')})"


def is_disrupted(pod: Pod) -> bool:
    """Return whether the cluster takes the pod away: eviction, preemption, a drained node."""
    return any(
        condition["type"] == "DisruptionTarget" and condition["status"] == "True"
        for condition in _conditions(pod)
    )


def _unscheduled(condition: dict[str, Any]) -> str:
    message = condition.get("message", "")
    missing = missing_resources(message)
    what = f"too little {' and '.join(missing)}" if missing else condition.get("reason", "")
    return _joined(f"unschedulable, {what}", message)


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


def _container(pod: Pod, name: str) -> dict[str, Any]:
    statuses = _status(pod).get("containerStatuses", [])
    return next((each for each in statuses if each["name"] == name), {})
