"""The launcher for a cluster: a TrainJob that is made or adopted, followed, and cleaned up.

The TrainJob's name follows from the stage's digest, so a launcher that is started again finds the
one its predecessor made. What was trained is told by the store, never by the TrainJob.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from components.shared.errors import BadInput, LaunchFailed, LidrError
from components.shared.progress import emit
from components.shared.stage import Stage
from components.shared.store import open_store
from components.train.launchers import pods
from components.train.launchers.cluster import (
    PATIENCE,
    RUN_ANNOTATION,
    STAGE_ANNOTATION,
    Cluster,
    TrainJob,
)
from components.train.launchers.exchange import Exchange
from components.train.launchers.failure import FATAL
from components.train.launchers.launch import Launch, Placement
from components.train.launchers.logs import LogFollower
from components.train.launchers.ownpod import is_disrupted, own_run
from components.train.launchers.termination import Terminated, raising_terminated
from components.train.trainer import Job, Summary

_TAIL_LINES = 20


def job_name(stage: Stage) -> str:
    """Return the name of a stage's TrainJob: pods add to it and must stay below 63 characters."""
    return f"lidr-train-{stage.digest[:16]}"


class TrainJobLauncher:
    """Runs the ranks as a Kubeflow TrainJob.

    Args:
        launch: from the profile.
        placement: what KFP hands over for the nodes.
        poll_seconds: between two looks at the TrainJob.
        patience: seconds of API errors after which the launcher gives up.
    """

    def __init__(
        self,
        launch: Launch,
        placement: Placement,
        poll_seconds: float = 3.0,
        patience: float = PATIENCE,
    ) -> None:
        self._launch = launch
        self._placement = placement
        self._poll_seconds = poll_seconds
        self._patience = patience

    def run(self, job: Job) -> Summary:
        """Train; see `Launcher.run`."""
        stage = Stage(open_store(job.store), job.stage)
        exchange = Exchange(stage)
        cluster = Cluster(self._launch.namespace, self._patience, min(1.0, self._poll_seconds))
        name = job_name(stage)
        with raising_terminated(), _deleting_when_cancelled(cluster, name):
            if exchange.summary() is None:
                self._make_or_adopt(cluster, name, stage, job)
                self._follow(cluster, name, exchange)
            summary = exchange.summary()
            if summary is None:
                raise _nothing_came_back(cluster, name)
            cluster.delete(name)
        return summary

    def _make_or_adopt(self, cluster: Cluster, name: str, stage: Stage, job: Job) -> None:
        while True:
            found = cluster.read(name)
            if found is None and self._make(cluster, name, stage, job):
                return
            if found is None:
                continue  # another launcher was faster: look at what it made
            if found.stage != stage.uri:
                raise BadInput(
                    f"TrainJob {name} in {cluster.namespace} works for {found.stage!r}, "
                    f"not for {stage.uri}",
                    remedy="Delete it, or use another namespace.",
                )
            if not found.ended and not found.deleting:
                self._adopt(name, found)
                return
            if not found.deleting:
                self._refuse_repetition(cluster, found, Exchange(stage))
                emit("note", message=f"TrainJob {name} of an earlier attempt is made anew")
                cluster.delete(name)
            time.sleep(self._poll_seconds)

    def _refuse_repetition(self, cluster: Cluster, found: TrainJob, exchange: Exchange) -> None:
        """Fail at once where KFP tries again what cannot come out otherwise; a new run may try."""
        failure = exchange.failure()
        if failure and failure.exit_code in FATAL and found.run and found.run == own_run(cluster):
            raise failure.as_error()

    def _make(self, cluster: Cluster, name: str, stage: Stage, job: Job) -> bool:
        from components.train.launchers.local import node_command

        Exchange(stage).publish(job)
        command = node_command(job.store, job.stage, self._launch.ranks_per_node)
        # The interpreter's path here need not be that of the nodes' image.
        annotations = {STAGE_ANNOTATION: stage.uri}
        if run := own_run(cluster):
            annotations[RUN_ANNOTATION] = run
        made = cluster.create(
            name, annotations, ["python", *command[1:]], self._launch, self._placement
        )
        if made:
            emit("note", message=f"TrainJob {name} made in namespace {cluster.namespace}")
        return made

    def _adopt(self, name: str, found: TrainJob) -> None:
        emit("note", message=f"TrainJob {name} exists: adopted")
        if found.nodes != self._launch.nodes:
            emit(
                "warning",
                message=f"TrainJob {name} has {found.nodes} nodes, the profile "
                f"{self._launch.nodes}; delete it to change that",
            )

    def _follow(self, cluster: Cluster, name: str, exchange: Exchange) -> None:
        """Wait for the TrainJob's end, and raise where it failed."""
        gang = Gang(cluster)
        waits = Waits(self._launch.admission_minutes * 60)
        while True:
            job = cluster.read(name)
            gang.look(name)
            if job is None or job.ended:
                break
            if waits.too_long(job, gang):
                cluster.delete(name)
                raise waits.as_error(name, self._launch)
            time.sleep(self._poll_seconds)
        if (job is not None and "Complete" in job.conditions) or exchange.summary() is not None:
            return
        raise _failed(name, job, gang, exchange)


@contextmanager
def _deleting_when_cancelled(cluster: Cluster, name: str) -> Iterator[None]:
    """Delete the TrainJob where this step is cancelled; an evicted step's retry will adopt it."""
    try:
        yield
    except (Terminated, KeyboardInterrupt):
        cluster.hurry()
        if is_disrupted(cluster):
            emit("note", message=f"this pod is evicted; TrainJob {name} goes on")
        else:
            cluster.delete(name)
            emit("note", message=f"cancelled; TrainJob {name} deleted")
        raise


@dataclass
class Gang:
    """The pods of a TrainJob, as seen over time.

    Attributes:
        cluster: where they are.
        running: whether any ran when last looked at.
        waiting: why those that wait do.
        deaths: reason by pod, with the pod's last words, in the order they were seen.
    """

    cluster: Cluster
    running: bool = False
    waiting: str = ""
    deaths: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    _attempt: int = 0
    _logs: LogFollower = field(init=False)

    def __post_init__(self) -> None:
        self._logs = LogFollower(self.cluster)

    def look(self, name: str) -> None:
        """Look at the pods once: relay rank 0's log, note who waits and who died."""
        nodes = pods.nodes_of(self.cluster.pods(name))
        if 0 in nodes and (pods.is_running(nodes[0]) or pods.has_ended(nodes[0])):
            self._logs.follow(nodes[0])
        self._note_attempt(max((pods.attempt_of(pod) for pod in nodes.values()), default=0))
        for number, pod in sorted(nodes.items()):
            self._note_death(number, pod)
        self.running = any(pods.is_running(pod) for pod in nodes.values())
        reasons = [reason for pod in nodes.values() if (reason := pods.why_waiting(pod))]
        if reasons and reasons[0] != self.waiting:
            emit("warning", message=f"TrainJob {name} waits: {reasons[0]}")
        self.waiting = reasons[0] if reasons else ""

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
            emit("note", message=f"all nodes are started anew, for the time {attempt}")
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

    def too_long(self, job: TrainJob, gang: Gang) -> bool:
        """Tell whether it has waited too long for its pods to run."""
        if gang.running:
            self._since = time.monotonic()
        self._reason = gang.waiting or job.conditions.get("Suspended", "")
        return time.monotonic() - self._since > self._limit

    def as_error(self, name: str, launch: Launch) -> LidrError:
        """Say what it has been waiting for."""
        queue = f"Kueue queue {launch.queue!r}" if launch.queue else "the scheduler"
        return LaunchFailed(
            f"TrainJob {name} did not run within {self._limit / 60:g} minutes and was deleted: "
            f"{self._reason or f'{queue} has not admitted it'}",
            remedy=f"Look at {queue} and the nodes, or raise training.admission_minutes.",
        )


def _failed(name: str, job: TrainJob | None, gang: Gang, exchange: Exchange) -> LidrError:
    """Say why a TrainJob failed: the ranks' words, the pods' reasons, the TrainJob's own."""
    told = exchange.failure()
    if told is not None and told.deliberate:
        return told.as_error()
    lines = [f"pod {pod}: {reason}" for pod, (reason, _) in gang.deaths.items()]
    words = list(told.log) if told else next((log for _, log in gang.deaths.values() if log), [])
    if told is not None:
        lines.append(f"{told.message} (node {told.node})")
    if job is None:
        lines.append("the TrainJob is gone: somebody deleted it")
    elif not lines:
        lines.append(job.conditions.get("Failed", ""))
    tail = "".join(f"\n  {line}" for line in words)
    return LaunchFailed(
        f"TrainJob {name} failed: {'; '.join(lines)}"
        + (f"; the last words were{tail}\n" if words else ""),
        remedy="Run the step again: it goes on from the last checkpoint.",
    )


def _nothing_came_back(cluster: Cluster, name: str) -> LidrError:
    return LaunchFailed(
        f"TrainJob {name} in {cluster.namespace} is complete, but left no summary on the store",
        remedy="Use one store and one image for the train step and the nodes.",
    )
