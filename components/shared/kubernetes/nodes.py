"""The pods of a TrainJob while it is followed: their logs, their deaths, and what they wait for."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from lidr.components.shared.core.errors import LaunchFailed, LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.kubernetes.logs import LogFollower, SharedProgress
from lidr.components.shared.kubernetes.trainjobs import Cluster, TrainJob

_TAIL_LINES = 20


@dataclass
class Nodes:
    """The pods of a TrainJob, as seen over time.

    Attributes:
        cluster: where they are.
        running: whether any ran when last looked at.
        waiting: why those that wait do.
        shares: whether each node does a share of the work.
        deaths: reason by pod, with the pod's last words, in the order they were seen.
    """

    cluster: Cluster
    running: bool = False
    waiting: str = ""
    deaths: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    shares: bool = False
    _attempt: int = 0
    _logs: dict[int, LogFollower] = field(default_factory=dict)
    _progress: SharedProgress = field(default_factory=SharedProgress)

    def look(self, name: str) -> None:
        """Look at the pods once: relay what they print, note which wait and which died."""
        nodes = pods.nodes_of(self.cluster.pods(name))
        self._relay(nodes)
        self._note_attempt(max((pods.attempt_of(pod) for pod in nodes.values()), default=0))
        for number, pod in sorted(nodes.items()):
            self._note_death(number, pod)
        self.running = any(pods.is_running(pod) for pod in nodes.values())
        reasons = [reason for pod in nodes.values() if (reason := pods.why_waiting(pod))]
        if reasons and reasons[0] != self.waiting:
            emit("warning", message=f"TrainJob {name} waits: {reasons[0]}")
        self.waiting = reasons[0] if reasons else ""

    def _relay(self, nodes: dict[int, pods.Pod]) -> None:
        """Relay node 0's log; where nodes share the work, the progress of all of them as well."""
        for number, pod in sorted(nodes.items()):
            if number and not self.shares:
                break
            if not (pods.is_running(pod) or pods.has_ended(pod)):
                continue
            follower = self._logs.setdefault(number, LogFollower(self.cluster))
            if self.shares:
                self._progress.take(number, follower.fresh(pod))
            else:
                follower.follow(pod)
        if self.shares:
            self._progress.report()

    def _note_death(self, number: int, pod: pods.Pod) -> None:
        name, reason = pods.name_of(pod), pods.why_dead(pod)
        if not reason or name in self.deaths:
            return
        log = self.cluster.log(name, pods.CONTAINER, tail_lines=_TAIL_LINES)
        self.deaths[name] = (reason, log.splitlines())
        emit("warning", message=f"node {number} (pod {name}) failed: {reason}")

    def _note_attempt(self, attempt: int) -> None:
        if attempt > self._attempt:
            self.deaths.clear()  # those of the last attempt are what a failure is about
            emit("note", message=f"all nodes are restarted, for the time {attempt}")
        self._attempt = max(attempt, self._attempt)


class Waits:
    """Measures how long a TrainJob has had no running pod.

    Args:
        limit: seconds.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since = time.monotonic()
        self._reason = ""

    def too_long(self, job: TrainJob, nodes: Nodes) -> bool:
        """Return whether it has waited too long for its pods to run."""
        if nodes.running:
            self._since = time.monotonic()
        self._reason = nodes.waiting or job.conditions.get("Suspended", "")
        return time.monotonic() - self._since > self._limit

    def as_error(self, name: str, launch: Launch) -> LidrError:
        """Say what it has been waiting for."""
        queue = f"Kueue queue {launch.queue!r}" if launch.queue else "the scheduler"
        return LaunchFailed(
            f"TrainJob {name} did not run within {self._limit / 60:g} minutes and was deleted: "
            f"{self._reason or f'{queue} has not admitted it'}",
            remedy=f"Look at {queue} and the nodes, or raise training.admission_minutes.",
        )
