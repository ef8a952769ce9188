"""The launcher for a cluster: a TrainJob that is created or adopted, followed, and deleted.

The TrainJob's name follows from the stage's digest, so that a launcher that is started again finds
the one that it created before. What was done is read from the store, never from the TrainJob.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.errors import BadInput, LaunchFailed, LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.retry import report_wait
from lidr.components.shared.core.termination import Terminated, raising_terminated
from lidr.components.shared.kubernetes.exchange import Exchange
from lidr.components.shared.kubernetes.failure import FATAL
from lidr.components.shared.kubernetes.launch import Launch, Placement
from lidr.components.shared.kubernetes.nodes import AdmissionTimeout, TrainJobPods
from lidr.components.shared.kubernetes.own_pod import is_disrupted, own_run
from lidr.components.shared.kubernetes.runs import has_ended, own_namespace
from lidr.components.shared.kubernetes.trainjobs import (
    RUN_ANNOTATION,
    STAGE_ANNOTATION,
    Cluster,
    TrainJob,
)
from lidr.components.shared.store.stage import Stage

_MORE_MEMORY = "Raise the step's memory in the profile, then run it again."


def job_name(component: str, stage: Stage) -> str:
    """Return the name of a stage's TrainJob, short: pods append to it, up to 63 characters in all.

    It contains a digest of the store's URI, because stages have the same digest on every store.
    """
    return f"lidr-{component}-{stage.digest[:10]}-{digest_of(stage.store.uri)[:6]}"


@dataclass(frozen=True)
class LaunchedWork:
    """The work of a TrainJob.

    Attributes:
        component: the step, for the label `app.kubernetes.io/component` and the name.
        stage: the stage being made.
        command: what every node runs.
        exchange: the files with the nodes' failures.
        publish: writes the nodes' job; called before a TrainJob is created.
        done: returns whether everything is done, whatever became of the TrainJob.
        sharded: whether each node does a shard of the work, so that their progress is added up.
    """

    component: str
    stage: Stage
    command: list[str]
    exchange: Exchange[Any, Any]
    publish: Callable[[], None]
    done: Callable[[], bool]
    sharded: bool = False

    @property
    def name(self) -> str:
        """Name of the TrainJob, by which a launcher that is started again finds it."""
        return job_name(self.component, self.stage)


class TrainJobLauncher:
    """Runs a program on the nodes of a Kubeflow TrainJob.

    Args:
        launch: settings from the profile.
        placement: placement of the nodes, from KFP.
        poll_seconds: time between two readings of the TrainJob.
        retry_seconds: how long API errors are retried; by default LIDR_RETRY_SECONDS.
    """

    def __init__(
        self,
        launch: Launch,
        placement: Placement,
        poll_seconds: float = 3.0,
        retry_seconds: float | None = None,
    ) -> None:
        self._launch = launch
        self._placement = placement
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds

    def run(self, work: LaunchedWork) -> None:
        """Create or adopt the TrainJob, and return when its work is done.

        Raises:
            BadInput: a node refused its input.
            LaunchFailed: a node died, no machine was found for it, or it wrote no result.
            LidrError: what a node raised.
        """
        cluster = Cluster(self._launch.namespace, self._retry_seconds)
        with raising_terminated(), _deleting_when_cancelled(cluster, work.name):
            if not work.done():
                self._create_or_adopt(cluster, work)
                self._follow(cluster, work)
            if not work.done():
                raise LaunchFailed(
                    f"TrainJob {work.name} in {cluster.namespace} is complete, but left nothing on "
                    "the store",
                    remedy="Use one store and one image for the step and its TrainJob's nodes.",
                )
            cluster.delete(work.name)

    def _create_or_adopt(self, cluster: Cluster, work: LaunchedWork) -> None:
        name = work.name
        with report_wait(f"waiting for the pods of the earlier TrainJob {name} to end"):
            while True:
                found = cluster.read(name)
                if found is None:
                    if self._create(cluster, work):
                        return  # else another launcher was first: read the TrainJob it created
                elif found.stage != work.stage.uri:
                    raise BadInput(
                        f"TrainJob {name} in {cluster.namespace} works for {found.stage!r}, "
                        f"not for {work.stage.uri}",
                        remedy="Delete it, or use another namespace.",
                    )
                elif not found.deleting:
                    resharded = work.sharded and found.nodes != self._launch.nodes
                    if not found.ended and not resharded:
                        self._adopt(name, found)
                        return
                    self._recreate(cluster, work, found)
                time.sleep(self._poll_seconds)

    def _recreate(self, cluster: Cluster, work: LaunchedWork, found: TrainJob) -> None:
        """Delete a TrainJob that cannot be adopted, so that another one is created."""
        if found.ended:
            self._raise_if_fatal(cluster, found, work)
            why = "of an earlier attempt"
        elif other := _other_live_run(cluster, found):
            raise BadInput(
                f"Kubeflow run {other} makes {work.stage.uri} with {found.nodes} shards, not "
                f"{self._launch.nodes}",
                remedy="Wait for it, or use as many shards.",
            )
        else:
            why = f"with {found.nodes} shards, not {self._launch.nodes},"
        emit("note", message=f"TrainJob {work.name} {why} is recreated")
        cluster.delete(work.name)

    def _raise_if_fatal(self, cluster: Cluster, found: TrainJob, work: LaunchedWork) -> None:
        """Fail at once if KFP retries what must fail again; a new KFP run may try it."""
        failure = work.exchange.failure()
        if failure and failure.exit_code in FATAL and found.run and found.run == own_run(cluster):
            raise failure.as_error()

    def _create(self, cluster: Cluster, work: LaunchedWork) -> bool:
        work.publish()
        annotations = {STAGE_ANNOTATION: work.stage.uri}
        if run := own_run(cluster):
            annotations[RUN_ANNOTATION] = run
        # The interpreter's path here need not be that of the nodes' image.
        command = ["python", *work.command[1:]]
        created = cluster.create(
            work.name, work.component, annotations, command, self._launch, self._placement
        )
        if created:
            emit("note", message=f"TrainJob {work.name} created in namespace {cluster.namespace}")
        return created

    def _adopt(self, name: str, found: TrainJob) -> None:
        emit("note", message=f"TrainJob {name} exists: adopted")
        if found.nodes != self._launch.nodes:
            emit(
                "warning",
                message=f"TrainJob {name} has {found.nodes} nodes, the profile "
                f"{self._launch.nodes}; delete it to change that",
            )

    def _follow(self, cluster: Cluster, work: LaunchedWork) -> None:
        """Wait for the TrainJob's end, and raise if it failed."""
        pods = TrainJobPods(cluster, sharded=work.sharded)
        timeout = AdmissionTimeout(self._launch.admission_minutes * 60)
        while True:
            job = cluster.read(work.name)
            pods.update(work.name)
            if job is None or job.ended:
                break
            if timeout.expired(job, pods):
                cluster.delete(work.name)
                raise timeout.as_error(work.name, self._launch)
            time.sleep(self._poll_seconds)
        if (job is not None and "Complete" in job.conditions) or work.done():
            return
        raise _failed(work.name, job, pods, work.exchange)


@contextmanager
def _deleting_when_cancelled(cluster: Cluster, name: str) -> Iterator[None]:
    """Delete the TrainJob if this step is cancelled; if it is evicted, its retry will adopt it."""
    try:
        yield
    except (Terminated, KeyboardInterrupt):
        cluster.shorten_retries()
        if is_disrupted(cluster):
            emit("note", message=f"this pod is evicted; TrainJob {name} goes on")
        elif _is_of_another_run(cluster, name):
            emit("note", message=f"cancelled; TrainJob {name} is another run's and goes on")
        else:
            cluster.delete(name)
            emit("note", message=f"cancelled; TrainJob {name} deleted")
        raise


def _is_of_another_run(cluster: Cluster, name: str) -> bool:
    """Return whether the TrainJob was adopted from another KFP run, which still needs it."""
    found = cluster.read(name)
    return found is not None and _other_live_run(cluster, found) != ""


def _other_live_run(cluster: Cluster, found: TrainJob) -> str:
    """Return the id of the KFP run that created a TrainJob; "" if it is this one or has ended."""
    own = own_run(cluster)
    other = found.run if own and found.run not in ("", own) else ""
    return "" if other and has_ended(own_namespace(), other) else other


def _failed(
    name: str, job: TrainJob | None, pods: TrainJobPods, exchange: Exchange[Any, Any]
) -> LidrError:
    """Return why a TrainJob failed, according to its ranks, its pods, or the TrainJob itself."""
    failure = exchange.failure()
    if failure is not None and failure.deliberate:
        return failure.as_error()
    lines = [f"pod {each.pod}: {each.reason}" for each in pods.failures.values()]
    log = (failure and failure.log) or pods.last_output()
    tail = "".join(f"\n  {line}" for line in log)
    if failure is not None:
        lines.append(f"{failure.message} (node {failure.node})")
    if pods.waiting:
        lines.append(f"a pod waits: {pods.waiting}")
    if job is None:
        lines.append("the TrainJob is gone: somebody deleted it")
    elif why := job.conditions.get("Failed"):  # e.g. its deadline has passed
        lines.append(why)
    killed = any(each.reason.startswith("OOMKilled") for each in pods.failures.values())
    return LaunchFailed(
        f"TrainJob {name} failed: {'; '.join(lines) or 'no pod says why'}"
        + (f"; its last output was{tail}\n" if tail else ""),
        remedy=(failure and failure.remedy)
        or (_MORE_MEMORY if killed else "Run the step again: what was finished is kept."),
    )
