"""The pods of a TrainJob while it is followed: their logs, their failures, what they wait for."""

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
class PodFailure:
    """A failed pod, why it failed, and its last log lines ([] if they could not be read yet)."""

    pod: str
    reason: str
    log: list[str] = field(default_factory=list)


@dataclass
class TrainJobPods:
    """The pods of a TrainJob, as seen over time.

    Attributes:
        cluster: the namespace's API.
        running: how many ran at the last update; if they need each other (not sharded), those
            that had succeeded count too.
        scheduled: how many had been scheduled to a node then.
        waiting: why the first waiting pod waits; "" if none does.
        sharded: whether each node does a shard of the work.
        failures: failures of the newest attempt, by node, in the order in which they were seen,
            without those of pods that have been replaced.
    """

    cluster: Cluster
    running: int = 0
    scheduled: int = 0
    waiting: str = ""
    failures: dict[int, PodFailure] = field(default_factory=dict)
    sharded: bool = False
    _attempt: int = 0
    _logs: dict[int, LogFollower] = field(default_factory=dict)
    _progress: SharedProgress = field(default_factory=SharedProgress)

    def update(self, name: str) -> None:
        """Read the pods of a TrainJob once; relay their output, warn of waits and failures."""
        nodes = pods.nodes_of(self.cluster.pods(name))
        self._relay(nodes)
        self._note_attempt(max((pods.attempt_of(pod) for pod in nodes.values()), default=0))
        for number, pod in sorted(nodes.items()):
            self._note_failure(number, pod)
        self.running = sum(
            pods.is_running(pod) or (pods.has_succeeded(pod) and not self.sharded)
            for pod in nodes.values()
        )
        self.scheduled = sum(pods.is_scheduled(pod) for pod in nodes.values())
        reasons = [reason for pod in nodes.values() if (reason := pods.why_waiting(pod))]
        if reasons and reasons[0] != self.waiting:
            emit("warning", message=f"TrainJob {name} waits: {reasons[0]}")
        self.waiting = reasons[0] if reasons else ""

    def last_output(self) -> list[str]:
        """Return the last lines of the failed pod that explains the others.

        Ranks fail because the first one failed; shards fail separately, and the last one that fails
        ends the job.
        """
        logs = [failure.log for failure in self.failures.values() if failure.log]
        return logs[-1 if self.sharded else 0] if logs else []

    def _relay(self, nodes: dict[int, pods.Pod]) -> None:
        """Relay node 0's log; if the work is sharded, the progress of all nodes as well."""
        for number, pod in sorted(nodes.items()):
            if number and not self.sharded:
                break
            if not (pods.is_running(pod) or pods.has_ended(pod)):
                continue
            follower = self._logs.setdefault(number, LogFollower(self.cluster))
            if self.sharded:
                self._progress.add(number, follower.new_lines(pod))
            else:
                follower.follow(pod)
        if self.sharded:
            self._progress.report()

    def _note_failure(self, number: int, pod: pods.Pod) -> None:
        name, reason = pods.name_of(pod), pods.why_failed(pod)
        if number in self.failures and self.failures[number].pod != name:
            del self.failures[number]  # the node has a new pod
        if not reason:
            return
        if number not in self.failures:
            self.failures[number] = PodFailure(name, reason)
            emit("warning", message=f"node {number} (pod {name}) failed: {reason}")
        if not self.failures[number].log:  # it is new, or its log could not be read before
            log = self.cluster.log(name, pods.CONTAINER, tail_lines=_TAIL_LINES)
            self.failures[number].log = log.splitlines()

    def _note_attempt(self, attempt: int) -> None:
        if attempt > self._attempt:
            self.failures.clear()  # an error reports those of the newest attempt
            emit("note", message=f"all nodes are restarted: restart {attempt}")
        self._attempt = max(attempt, self._attempt)


class AdmissionTimeout:
    """Measures how long a TrainJob lacks running pods, waiting for admission, a node or an image.

    Training needs all of its nodes; of shards, which do not wait for each other, one is enough.
    The limit is in seconds.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._since = time.monotonic()
        self._needed = 1
        self._reason = ""
        self._scheduled = False

    def expired(self, job: TrainJob, seen: TrainJobPods) -> bool:
        """Return whether the TrainJob has waited too long for its pods to run."""
        self._needed = 1 if seen.sharded else max(job.nodes, 1)
        if seen.running >= self._needed:
            self._since = time.monotonic()
        self._reason = seen.waiting or job.conditions.get("Suspended", "")
        self._scheduled = seen.scheduled >= self._needed
        return time.monotonic() - self._since > self._limit

    def as_error(self, name: str, launch: Launch) -> LidrError:
        """Return the error to raise, with what the TrainJob was waiting for."""
        alone = self._needed == 1
        lacked = "had no running pod" if alone else f"did not have all {self._needed} pods running"
        cause, look = "the scheduler has found no node for it", "the scheduler and the nodes"
        if launch.queue:
            queue = f"Kueue queue {launch.queue!r}"
            cause, look = f"{queue} has not admitted it", f"{queue} and the nodes"
        if self._scheduled:
            cause, look = "its pods have nodes but do not start", "its image, Secrets and volumes"
        return LaunchFailed(
            f"TrainJob {name} {lacked} for {self._limit / 60:g} minutes and was deleted: "
            f"{self._reason or cause}",
            remedy=f"Look at {look}, or raise training.admission_minutes, then run the step again: "
            "what was finished is kept.",
        )
