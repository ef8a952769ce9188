"""The logs of a run's steps, read from their pods."""

from __future__ import annotations

import time
from collections.abc import Iterator

from lidr.components.shared.core.errors import BadInput, Unavailable
from lidr.components.shared.core.retry import retry, unavailable
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.logs import LogFollower
from lidr.components.shared.kubernetes.pods import Pod
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.namespace import RunNamespaces
from lidr.pipelines.cluster.waiting import CONTAINER, step_pods
from lidr.pipelines.cluster.watch import RETRY_SECONDS
from lidr.pipelines.status import logged_by, step_title
from lidr.pipelines.step_log import OwnLines

POLL_SECONDS = 2.0

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
    """Yield the lines of a run's pods, step after step.

    Args:
        step: only this step's; "" for all.
        iteration: only this iteration's.
        follow: go on until the run has ended.
        everything: also what Kubeflow's launcher and Argo print around a step.
        poll_seconds: between two requests, with `follow`.

    Raises:
        BadInput: there is no such run, or no pod of such a step is left.
    """
    run = runs.newest_run(client, client.settings.experiment, name)
    first = runs.first_iteration(run)
    followers: dict[str, _StepLog] = {}
    identity, seconds = run.run_id, RETRY_SECONDS if follow else 0.0
    while True:
        live = runs.is_live(run)
        listed = retry(lambda: namespace.pods(identity), "Kubernetes", unavailable, seconds)
        found = _wanted(listed, first, step, iteration)
        try:
            for title, pod in found:
                log = followers.setdefault(pods.name_of(pod), _StepLog(namespace, everything))
                yield from ((title, line) for line in log.fresh(pod))
        except Unavailable:
            if not follow:
                raise
        if not followers and not (follow and live):
            raise _no_pod(name, step)
        if not (follow and live):
            return
        time.sleep(poll_seconds)
        run = retry(lambda: runs.read_run(client, identity), "Kubeflow", unavailable, seconds)


def _wanted(
    found: list[Pod], first: int, step: str, iteration: int | None
) -> list[tuple[str, Pod]]:
    wanted = []
    for (number, name), group in sorted(step_pods(found, first).items()):
        if (step and name not in logged_by(step)) or iteration not in (None, number):
            continue
        title = step_title(number, name)
        begun = [pod for pod in group if pods.is_running(pod, CONTAINER) or pods.has_ended(pod)]
        wanted += [(title, pod) for pod in sorted(begun, key=pods.name_of)]
    return wanted


class _StepLog:
    """Follows the log of one step's pod.

    Args:
        everything: whether to include what others print around the step.
    """

    def __init__(self, namespace: RunNamespaces, everything: bool) -> None:
        self._follower = LogFollower(namespace, CONTAINER, first_lines=0)
        self._own = None if everything else OwnLines()

    def fresh(self, pod: Pod) -> Iterator[str]:
        """Yield the lines that the pod has printed since the last call."""
        lines = self._follower.new_lines(pod)
        yield from (line for line in lines if self._own is None or self._own.has(line))


def _no_pod(name: str, step: str) -> BadInput:
    what = f"step {step!r} of run {name!r}" if step else f"run {name!r}"
    return BadInput(
        f"no pod of {what} is left, or none has started",
        remedy="Look at `lidr status`, or at the task's logs in Kubeflow, which may keep them.",
    )
