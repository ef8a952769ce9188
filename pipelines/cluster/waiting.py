"""Why steps wait, how fast they are, and since when training holds its GPUs: out of their pods."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from components.shared.kubernetes import pods
from components.shared.kubernetes.logs import progress_in
from components.shared.kubernetes.pods import Pod
from components.shared.text import one_line
from pipelines.cluster.namespace import Namespace, TrainingJob
from pipelines.cluster.tasks import place_of
from pipelines.status import Row

CONTAINER = "main"
"""Name that Argo gives to a task's own container."""

_NODE = "workflows.argoproj.io/node-name"
_TAIL = 40


def step_pods(found: list[Pod], first: int) -> dict[tuple[int, str], list[Pod]]:
    """Return a run's pods by iteration and step.

    Args:
        found: all pods of the run.
        first: the first iteration that its pipeline holds.
    """
    by_step: dict[tuple[int, str], list[Pod]] = {}
    for pod in found:
        path = pod["metadata"].get("annotations", {}).get(_NODE, "")
        if place := place_of(path, first):
            by_step.setdefault(place, []).append(pod)
    return by_step


def rows_of_pods(
    namespace: Namespace, found: list[Pod], jobs: list[TrainingJob], first: int, gpus: int
) -> Iterator[Row]:
    """Yield what the pods know of the steps that run or wait.

    Args:
        namespace: where they are.
        found: the run's pods.
        jobs: the run's TrainJobs.
        first: the first iteration that its pipeline holds.
        gpus: accelerators of all nodes of a TrainJob.
    """
    for (iteration, step), group in step_pods(found, first).items():
        open_pods = [pod for pod in group if not pods.has_ended(pod)]
        if not open_pods:
            continue
        reasons = [reason for pod in open_pods if (reason := _why(namespace, pod))]
        progress = _progress(namespace, open_pods)
        works = any(pods.is_running(pod, CONTAINER) for pod in open_pods)
        if step == "train" and jobs:
            nodes = [pod for job in jobs for pod in namespace.pods_of_job(job.name)]
            reasons = [*_training_waits(namespace, jobs, nodes), *reasons]
            progress["gpu_seconds"] = _held(nodes) * gpus
            works = any(pods.is_running(pod) for pod in nodes)
        waits = reasons and not works
        note = one_line(reasons[0]) if reasons else ""
        yield Row(iteration, step, "waiting" if waits else "", note=note, **progress)


def _why(namespace: Namespace, pod: Pod) -> str:
    if pods.is_gated(pod) and (reason := namespace.why_gated(pod)):
        return reason
    if reason := pods.why_waiting(pod, CONTAINER):
        return reason
    if pods.is_running(pod, CONTAINER):
        return ""
    events = namespace.warnings(pods.name_of(pod))
    return events[-1] if events else ""


def _training_waits(
    namespace: Namespace, jobs: list[TrainingJob], nodes: list[Pod]
) -> Iterator[str]:
    for job in jobs:
        if reason := namespace.why_queued(job):
            yield f"TrainJob {job.name}: {reason}"
    for pod in nodes:
        if reason := pods.why_waiting(pod):
            yield f"node {pods.name_of(pod)}: {reason}"


def _progress(namespace: Namespace, running: list[Pod]) -> dict[str, Any]:
    """Return what the logs of a step's pods last said of its progress, added up."""
    total: dict[str, Any] = {}
    for pod in running:
        if not pods.is_running(pod, CONTAINER):
            continue
        told = _last(namespace.log(pods.name_of(pod), CONTAINER, tail_lines=_TAIL))
        if len(running) == 1 and told:
            total |= {name: int(told[name]) for name in ("done", "total") if name in told}
            total["unit"] = str(told.get("unit", ""))
        if "rate" in told:
            total["rate"] = total.get("rate", 0.0) + float(told["rate"])
            total["rate_unit"] = str(told.get("rate_unit", ""))
    return total


def _last(log: str) -> dict[str, Any]:
    found = (values for line in reversed(log.splitlines()) if (values := progress_in(line)))
    return dict(next(found, {}))


def _held(nodes: list[Pod]) -> float:
    """Return for how many seconds the nodes of a TrainJob have been running."""
    starts = [
        datetime.fromisoformat(pod["status"]["startTime"])
        for pod in nodes
        if pods.is_running(pod) and "startTime" in pod["status"]
    ]
    return (datetime.now(UTC) - min(starts)).total_seconds() if starts else 0.0
