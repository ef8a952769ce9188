"""Overhead: how much of an iteration's time is Kubeflow's and not the steps' own work."""

from __future__ import annotations

from tests.cluster.cluster import Cluster, require
from tests.cluster.parts.submitting import RUN, first_run
from tests.cluster.workflow import (
    Interval,
    PodNode,
    covered,
    nodes_of,
    pods_of,
    seconds_of,
    window_of,
    worked,
)

HOUR = 3600.0
LIMIT = 0.05


def overhead(cluster: Cluster) -> str:
    """Set the time between the steps' work in one measured iteration against an hour.

    What Kubeflow takes (drivers, pods, images, queues, its launcher, the start of each process)
    does not grow with the work, so a short iteration tells it: everything between the beginning
    of M_1 and that of M_2 in which no step's own code was at work.
    """
    first_run(cluster)
    workflow = _whole(cluster)
    require(workflow, "no workflow of the run holds an iteration with all of its work")
    pods = pods_of(workflow)
    window = window_of(pods, 1)
    lost = window[1] - window[0] - covered(_work(cluster, pods), window)
    cluster.figures.overhead_share = round(lost / HOUR, 4)
    tasks = sum(window[0] <= pod.begin < window[1] and pod.role == "executor" for pod in pods)
    told = (
        f"{lost:.0f} s of an iteration of {window[1] - window[0]:.0f} s and {tasks} tasks were not "
        f"the steps' own work: {lost / HOUR:.1%} of an hour (measured short, set against an hour)"
    )
    require(lost / HOUR <= LIMIT, told)
    return told


def _whole(cluster: Cluster) -> dict | None:
    """Return the run's last workflow that holds M_1 from end to end and has begun with M_2.

    An earlier test that was told to keep what it made has left others of that name.
    """
    for workflow in reversed(cluster.workflows(RUN)):
        if {1, 2} <= {pod.iteration for pod in pods_of(workflow)}:
            return workflow
    return None


def _work(cluster: Cluster, pods: list[PodNode]) -> list[Interval]:
    """Return when a step's own code was at work, from the pods' logs."""
    found = []
    for pod in pods:
        if pod.role == "executor":
            done = cluster.kubectl(
                "logs",
                pod.pod,
                "--container=main",
                "--timestamps",
                f"--namespace={cluster.pods_namespace}",
            )
            found += worked(done.require().out)
    return found


def timeline(workflow: dict) -> list[str]:
    """Return a run's pods as lines: when each began, how long it took, what it was."""
    pods = pods_of(workflow)
    begin = min(
        seconds_of(node["startedAt"])
        for node in nodes_of(workflow).values()
        if node.get("startedAt")
    )
    return [
        f"{pod.begin - begin:6.0f} {pod.end - pod.begin:5.0f}  {pod.role:8} {pod.path[-60:]}"
        for pod in pods
    ]
