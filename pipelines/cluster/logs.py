"""The logs of a run's steps, read from their pods."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.retry import report_wait, retry, unavailable
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.logs import LogFollower
from lidr.components.shared.kubernetes.pods import Pod
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.namespace import RunNamespaces
from lidr.pipelines.cluster.waiting import CONTAINER, step_pods
from lidr.pipelines.cluster.watch import RETRY_SECONDS
from lidr.pipelines.status import StepRow, logged_by, step_title
from lidr.pipelines.step_log import OwnLines

POLL_SECONDS = 2.0

_LAST_SECONDS = 15.0
"""How long an unreadable log is requested again once the run has ended."""

Line = tuple[str, str]
"""Title of a pod's step, and one line of its log."""


def read_logs(
    client: Client,
    namespace: RunNamespaces,
    name: str,
    step: str = "",
    iteration: int | None = None,
    *,
    follow: bool = False,
    everything: bool = False,
    poll_seconds: float = POLL_SECONDS,
) -> Iterator[Line]:
    """Yield the lines of a run's pods, in the order of its steps; with `follow`, as they come.

    Args:
        step: only this step's; "" for all.
        iteration: only this iteration's.
        follow: wait for further lines until the run has ended.
        everything: also what Kubeflow's launcher and Argo print around a step.
        poll_seconds: between two requests, with `follow`.

    Raises:
        BadInput: there is no such run, or it has no pods of this step and iteration.
        Unavailable: some logs could not be read; all lines of the others have been yielded.
    """
    run = runs.newest_run(client, client.settings.experiment, name)
    first, asked = runs.first_iteration(run), _asked_for(name, step, iteration)
    logs, identity = _PodLogs(namespace, everything), run.run_id
    seconds, last_seconds = (RETRY_SECONDS, _LAST_SECONDS) if follow else (0.0, 0.0)
    with ExitStack() as waiting:
        if follow:
            waiting.enter_context(report_wait(f"no pod of {asked} has started; waiting for one"))
        while True:
            live = follow and runs.is_live(run)
            listed = retry(lambda: namespace.pods(identity), "Kubernetes", unavailable, seconds)
            if found := _wanted(listed, first, step, iteration):
                waiting.close()
            yield from logs.new_lines(found, 0.0 if live else last_seconds)
            if not live:
                break
            logs.warn_of_unread()
            time.sleep(poll_seconds)
            run = retry(lambda: runs.read_run(client, identity), "Kubeflow", unavailable, seconds)
    logs.require_complete()
    if logs.empty:
        raise _no_pod(asked)


def _wanted(
    found: list[Pod], first: int, step: str, iteration: int | None
) -> list[tuple[str, Pod]]:
    """Return the pods that have started, with their titles: by step, then by age."""
    wanted = []
    groups = sorted(step_pods(found, first).items(), key=lambda item: StepRow(*item[0]).place)
    for (number, name), group in groups:
        if (step and name not in logged_by(step)) or iteration not in (None, number):
            continue
        title = step_title(number, name)
        begun = [pod for pod in group if pods.is_running(pod, CONTAINER) or pods.has_ended(pod)]
        wanted += [(title, pod) for pod in sorted(begun, key=_age_key)]
    return wanted


def _age_key(pod: Pod) -> tuple[str, str]:
    return pod["metadata"].get("creationTimestamp", ""), pods.name_of(pod)


class _PodLogs:
    """Reads the logs of many pods, every line once.

    Args:
        everything: whether to include what Kubeflow's launcher and Argo print around the steps.
    """

    def __init__(self, namespace: RunNamespaces, everything: bool) -> None:
        self._namespace = namespace
        self._everything = everything
        self._logs: dict[str, _StepLog] = {}

    @property
    def empty(self) -> bool:
        """Whether no pod was seen."""
        return not self._logs

    def new_lines(self, found: list[tuple[str, Pod]], seconds: float) -> Iterator[Line]:
        """Yield what the pods have printed since the last call, except logs that are unreadable.

        Args:
            found: the pods, with their titles.
            seconds: how long an unreadable log is requested again.
        """
        for title, pod in found:
            log = self._log_of(title, pod)
            try:
                lines = retry(partial(log.new_lines, pod), "Kubernetes", unavailable, seconds)
            except Unavailable as error:
                log.problem = error.message
            else:
                yield from ((title, line) for line in lines)

    def warn_of_unread(self) -> None:
        """Warn, once for each log, that it could not be read at the last attempt."""
        for log in self._unread():
            if not log.warned:
                emit("warning", message=f"no lines of {log.name} for now: {log.problem}")
                log.warned = True

    def require_complete(self) -> None:
        """Raise Unavailable if logs could not be read at the last attempt."""
        if unread := self._unread():
            raise Unavailable(
                f"lines of {', '.join(log.name for log in unread)} are missing: "
                f"{unread[-1].problem}",
                remedy="Run the same command again. If a pod's node is gone, only a collector of "
                "the cluster's logs still has them.",
            )

    def _unread(self) -> list[_StepLog]:
        return [log for log in self._logs.values() if log.problem]

    def _log_of(self, title: str, pod: Pod) -> _StepLog:
        identity = pod["metadata"]["uid"]
        if identity not in self._logs:
            name = f"{title} ({pods.name_of(pod)})"
            self._logs[identity] = _StepLog(name, self._namespace, self._everything)
        return self._logs[identity]


class _StepLog:
    """Follows the log of one step's pod.

    Args:
        name: of the step and the pod, for messages.
        everything: whether to include what Kubeflow's launcher and Argo print around the step.

    Attributes:
        problem: why the log could not be read at the last attempt; "" if it could.
        warned: whether the user has been warned of it.
    """

    def __init__(self, name: str, namespace: RunNamespaces, everything: bool) -> None:
        self.name = name
        self.problem = ""
        self.warned = False
        self._follower = LogFollower(namespace, CONTAINER, first_lines=0)
        self._own = None if everything else OwnLines()
        self._complete = False

    def new_lines(self, pod: Pod) -> list[str]:
        """Return the lines printed since the last call; an ended pod is read only once more."""
        if self._complete:
            return []
        lines = self._follower.new_lines(pod)
        self._complete, self.problem = pods.has_ended(pod), ""
        return [line for line in lines if self._own is None or self._own.has(line)]


def _asked_for(name: str, step: str, iteration: int | None) -> str:
    parts = [f"step {step!r}"] if step else []
    parts += [f"iteration {iteration}"] if iteration is not None else []
    return " of ".join([*parts, f"run {name!r}"])


def _no_pod(asked: str) -> BadInput:
    return BadInput(
        f"{asked} has no pods: none has started, or all have been deleted",
        remedy="Look at `lidr status`, or at the task's logs in Kubeflow, which may keep them.",
    )
