"""What pods show: why steps wait or failed, and how fast they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.text import one_line
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.logs import progress_in
from lidr.components.shared.kubernetes.pods import Pod
from lidr.pipelines.cluster.namespace import RunNamespaces, RunTrainJob
from lidr.pipelines.cluster.nodes import path_of
from lidr.pipelines.cluster.tasks import is_driver, own_name, step_at
from lidr.pipelines.status import StepRow
from lidr.pipelines.step_log import last_words, launcher_error

CONTAINER = "main"
"""Name that Argo gives to a task's own container."""

_NODE_NAME = "workflows.argoproj.io/node-name"
_PROGRESS_LINES = 40
_ERROR_LINES = 200
"""Lines at the end of a log in which progress, or an error, is looked for."""


@dataclass(frozen=True)
class PodReport:
    """What a run's pods show.

    Attributes:
        rows: of the steps that run, wait or failed.
        others: why other tasks wait or failed, by name.
        notes: what could not be read.
    """

    rows: tuple[StepRow, ...] = ()
    others: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailedTasks:
    """What has failed in a run; other pods that died were replaced.

    Attributes:
        steps: iteration and step.
        others: names of tasks that belong to no step.
    """

    steps: frozenset[tuple[int, str]] = frozenset()
    others: frozenset[str] = frozenset()


def step_pods(
    found: list[Pod], first: int, *, drivers: bool = False
) -> dict[tuple[int, str], list[Pod]]:
    """Return a run's pods by iteration and step.

    Args:
        found: all pods of the run.
        first: the first iteration that its pipeline holds.
        drivers: whether to include the pods of Kubeflow's drivers.
    """
    by_step: dict[tuple[int, str], list[Pod]] = {}
    for pod in found:
        if place := step_at(_node_name(pod), first, drivers=drivers):
            by_step.setdefault(place, []).append(pod)
    return by_step


def inspect_pods(
    namespace: RunNamespaces,
    found: list[Pod],
    jobs: list[RunTrainJob],
    first: int,
    failed: FailedTasks,
) -> PodReport:
    """Return what pods show of the steps and other tasks that run, wait or failed.

    Args:
        namespace: the run's namespaces.
        found: the run's pods.
        jobs: the run's TrainJobs.
        first: the first iteration that its pipeline holds.
        failed: what has failed according to Kubeflow.
    """
    rows: list[StepRow] = []
    logs = _Logs(namespace)
    for place, group in step_pods(found, first, drivers=True).items():
        if open_pods := [pod for pod in group if not pods.has_ended(pod)]:
            rows.append(_open_row(namespace, logs, place, open_pods, jobs))
        elif place in failed.steps and (died := _died_last(group)):
            whose = "its driver: " if is_driver(_node_name(died)) else ""
            note = whose + _why_dead(logs, died)
            rows.append(StepRow(*place, note=note, pod=pods.name_of(died)))
    others = dict(_others(namespace, logs, found, first, failed.others))
    return PodReport(tuple(rows), others, tuple(dict.fromkeys(logs.refusals)))


class _Logs:
    """Reads the ends of pods' logs.

    Attributes:
        refusals: why logs may not be read, for users.
    """

    def __init__(self, namespace: RunNamespaces) -> None:
        self._namespace = namespace
        self.refusals: list[str] = []

    def end_of(self, pod: Pod, lines: int) -> str:
        """Return the end of a log; "" if it cannot be read, e.g. since its node is gone."""
        try:
            return self._namespace.log(pods.name_of(pod), CONTAINER, tail_lines=lines)
        except Unavailable:
            return ""
        except BadInput as error:
            why = error.message.partition(" of pod ")
            self.refusals.append(f"progress and last words are not shown: {why[0]}")
            return ""


def _open_row(
    namespace: RunNamespaces,
    logs: _Logs,
    place: tuple[int, str],
    open_pods: list[Pod],
    jobs: list[RunTrainJob],
) -> StepRow:
    reasons = [reason for pod in open_pods if (reason := _why_waiting(namespace, pod))]
    progress = _progress(logs, open_pods)
    runs = any(pods.is_running(pod, CONTAINER) for pod in open_pods)
    own = [job for job in jobs if job.name.startswith(f"lidr-{place[1]}-")]
    if own:
        nodes = [pod for job in own for pod in namespace.pods_of_job(job.name)]
        reasons = [*_training_waits(namespace, own, nodes), *reasons]
        runs = any(pods.is_running(pod) for pod in nodes)
    note = one_line(reasons[0]) if reasons else ""
    return StepRow(*place, "waiting" if reasons and not runs else "", note=note, **progress)


def _others(
    namespace: RunNamespaces, logs: _Logs, found: list[Pod], first: int, failed: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """Yield the names of tasks that belong to no step, and why they wait or failed; newest last."""
    for pod in sorted(found, key=_created):
        if step_at(_node_name(pod), first, drivers=True):
            continue
        name = own_name(path_of(_node_name(pod)))
        if not pods.has_ended(pod):
            if reason := _why_waiting(namespace, pod):
                yield name, one_line(reason)
        elif name in failed and pods.why_failed(pod, CONTAINER):
            yield name, f"{_why_dead(logs, pod)} (pod {pods.name_of(pod)})"


def _node_name(pod: Pod) -> str:
    return str(pod["metadata"].get("annotations", {}).get(_NODE_NAME, ""))


def _died_last(group: list[Pod]) -> Pod | None:
    died = [pod for pod in group if pods.why_failed(pod, CONTAINER)]
    return max(died, key=_created, default=None)


def _created(pod: Pod) -> str:
    return str(pod["metadata"].get("creationTimestamp", ""))


def _why_dead(logs: _Logs, pod: Pod) -> str:
    """Return how a pod ended, and its step's last line."""
    reason = pods.why_failed(pod, CONTAINER)
    log = logs.end_of(pod, _ERROR_LINES)
    words = launcher_error(log) if is_driver(_node_name(pod)) else last_words(log)
    return one_line(f"{reason}: {words}" if words else reason)


def _why_waiting(namespace: RunNamespaces, pod: Pod) -> str:
    if pods.is_gated(pod) and (reason := namespace.why_gated(pod)):
        return reason
    if reason := pods.why_waiting(pod, CONTAINER):
        return reason
    if pods.is_running(pod, CONTAINER):
        return ""
    events = namespace.warnings(pods.name_of(pod))
    return events[-1] if events else ""


def _training_waits(
    namespace: RunNamespaces, jobs: list[RunTrainJob], nodes: list[Pod]
) -> Iterator[str]:
    for job in jobs:
        if reason := namespace.why_queued(job):
            yield f"TrainJob {job.name}: {reason}"
    for pod in nodes:
        if reason := pods.why_waiting(pod):
            yield f"node {pods.name_of(pod)}: {reason}"


def _progress(logs: _Logs, running: list[Pod]) -> dict[str, Any]:
    """Return the latest progress in a step's logs, as fields of a `StepRow`; rates are summed."""
    total: dict[str, Any] = {}
    for pod in running:
        if not pods.is_running(pod, CONTAINER):
            continue
        last = _last_progress(logs.end_of(pod, _PROGRESS_LINES))
        if len(running) == 1 and last:
            total |= {name: int(last[name]) for name in ("done", "total") if name in last}
            total["unit"] = str(last.get("unit", ""))
        if "rate" in last:
            total["rate"] = total.get("rate", 0.0) + float(last["rate"])
            total["rate_unit"] = str(last.get("rate_unit", ""))
    return total


def _last_progress(log: str) -> dict[str, Any]:
    found = (values for line in reversed(log.splitlines()) if (values := progress_in(line)))
    return dict(next(found, {}))
