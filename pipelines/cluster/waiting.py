"""What pods show: why steps wait or failed, and how fast they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

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

T = TypeVar("T")


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
    run_id: str,
    first: int,
    failed: FailedTasks,
) -> PodReport:
    """Return what pods show of the steps and other tasks that run, wait or failed.

    Args:
        namespace: the run's namespaces.
        found: the run's pods.
        run_id: of the run.
        first: the first iteration that its pipeline holds.
        failed: what has failed according to Kubeflow.
    """
    rows: list[StepRow] = []
    lookups = _Lookups(namespace)
    jobs = lookups.jobs(run_id) if found else []
    for place, group in step_pods(found, first, drivers=True).items():
        if open_pods := [pod for pod in group if not pods.has_ended(pod)]:
            rows.append(_open_row(lookups, place, open_pods, jobs))
        elif place in failed.steps and (died := _died_last(group)):
            whose = "its driver: " if is_driver(_node_name(died)) else ""
            note = whose + _why_dead(lookups, died)
            rows.append(StepRow(*place, note=note, pod=pods.name_of(died)))
    others = dict(_others(lookups, found, first, failed.others))
    return PodReport(tuple(rows), others, tuple(dict.fromkeys(lookups.notes)))


class _Lookups:
    """Looks up what pods themselves do not show; a refused request costs only its own answer.

    Attributes:
        notes: what is not shown and why, for users.
    """

    def __init__(self, namespace: RunNamespaces) -> None:
        self._namespace = namespace
        self.notes: list[str] = []

    def end_of_log(self, pod: Pod, lines: int) -> str:
        """Return the end of a log; "" if it cannot be read, e.g. since its node is gone."""
        try:
            return self._namespace.log(pods.name_of(pod), CONTAINER, tail_lines=lines)
        except Unavailable:
            return ""
        except BadInput as error:
            self.notes.append(f"progress and last words are not shown: {error.message}")
            return ""

    def jobs(self, run_id: str) -> list[RunTrainJob]:
        """Return the run's TrainJobs; none if they may not be listed."""
        return self._try(lambda: self._namespace.jobs(run_id), [])

    def why_gated(self, pod: Pod) -> str:
        """Return why Kueue does not admit a step's pod yet; "" if it does not say."""
        return self._try(lambda: self._namespace.why_gated(pod), "")

    def why_queued(self, job: RunTrainJob) -> str:
        """Return why Kueue does not admit a TrainJob yet; "" if it does not say."""
        return self._try(lambda: self._namespace.why_queued(job), "")

    def pods_of_job(self, job: RunTrainJob) -> list[Pod]:
        """Return the pods of a TrainJob; none if they may not be listed."""
        return self._try(lambda: self._namespace.pods_of_job(job.name), [])

    def last_warning(self, pod: Pod) -> str:
        """Return the latest warning about a pod; "" without one."""
        events = self._namespace.warnings(pods.name_of(pod))
        return events[-1] if events else ""

    def _try(self, ask: Callable[[], T], unknown: T) -> T:
        try:
            return ask()
        except BadInput as error:
            self.notes.append(f"why some pods wait is not shown: {error.message}")
            return unknown


def _open_row(
    lookups: _Lookups, place: tuple[int, str], open_pods: list[Pod], jobs: list[RunTrainJob]
) -> StepRow:
    reasons = [reason for pod in open_pods if (reason := _why_waiting(lookups, pod))]
    progress = _progress(lookups, open_pods)
    runs = any(pods.is_running(pod, CONTAINER) for pod in open_pods)
    own = [job for job in jobs if job.name.startswith(f"lidr-{place[1]}-")]
    if own:
        nodes = [pod for job in own for pod in lookups.pods_of_job(job)]
        reasons = [*_training_waits(lookups, own, nodes), *reasons]
        runs = any(pods.is_running(pod) for pod in nodes)
    note = one_line(reasons[0]) if reasons else ""
    return StepRow(*place, "waiting" if reasons and not runs else "", note=note, **progress)


def _others(
    lookups: _Lookups, found: list[Pod], first: int, failed: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """Yield the names of tasks that belong to no step, and why they wait or failed; newest last."""
    for pod in sorted(found, key=_created):
        if step_at(_node_name(pod), first, drivers=True):
            continue
        name = own_name(path_of(_node_name(pod)))
        if not pods.has_ended(pod):
            if reason := _why_waiting(lookups, pod):
                yield name, one_line(reason)
        elif name in failed and pods.why_failed(pod, CONTAINER):
            yield name, f"{_why_dead(lookups, pod)} (pod {pods.name_of(pod)})"


def _node_name(pod: Pod) -> str:
    return str(pod["metadata"].get("annotations", {}).get(_NODE_NAME, ""))


def _died_last(group: list[Pod]) -> Pod | None:
    died = [pod for pod in group if pods.why_failed(pod, CONTAINER)]
    return max(died, key=_created, default=None)


def _created(pod: Pod) -> str:
    return str(pod["metadata"].get("creationTimestamp", ""))


def _why_dead(lookups: _Lookups, pod: Pod) -> str:
    """Return how a pod ended, and its step's last line."""
    reason = pods.why_failed(pod, CONTAINER)
    log = lookups.end_of_log(pod, _ERROR_LINES)
    words = launcher_error(log) if is_driver(_node_name(pod)) else last_words(log)
    return one_line(f"{reason}: {words}" if words else reason)


def _why_waiting(lookups: _Lookups, pod: Pod) -> str:
    if pods.is_gated(pod) and (reason := lookups.why_gated(pod)):
        return reason
    if reason := pods.why_waiting(pod, CONTAINER):
        return reason
    if pods.is_running(pod, CONTAINER):
        return ""
    return lookups.last_warning(pod)


def _training_waits(lookups: _Lookups, jobs: list[RunTrainJob], nodes: list[Pod]) -> Iterator[str]:
    for job in jobs:
        if reason := lookups.why_queued(job):
            yield f"TrainJob {job.name}: {reason}"
    for pod in nodes:
        if reason := pods.why_waiting(pod):
            yield f"node {pods.name_of(pod)}: {reason}"


def _progress(lookups: _Lookups, running: list[Pod]) -> dict[str, Any]:
    """Return the latest progress in a step's logs, as fields of a `StepRow`; rates are summed."""
    total: dict[str, Any] = {}
    for pod in running:
        if not pods.is_running(pod, CONTAINER):
            continue
        last = _last_progress(lookups.end_of_log(pod, _PROGRESS_LINES))
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
