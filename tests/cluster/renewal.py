"""Renews tests/recordings from this cluster: runs that ended well, failed and were cancelled."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lidr.pipelines.cluster.client import Client
from tests.cluster.cluster import Cluster, Object, require
from tests.cluster.commands import wait_for
from tests.cluster.parts.submitting import RUN, first_run
from tests.cluster.recording import record
from tests.cluster.workflow import ENDED, nodes_of, pod_name
from tests.faults.lives import SIZES as SMALL

BROKEN = ("training.learning_rate=1.0e+30",)
"""A run with it fails in the middle of an iteration: its weights are no numbers."""


def renew(cluster: Cluster) -> str:
    """Record a run of each kind, and say which files were written."""
    with ThreadPoolExecutor() as pool:
        broken, cancelled = pool.submit(_broken, cluster), pool.submit(_cancelled, cluster)
        first_run(cluster)
    written = [
        *_recorded(cluster, "succeeded", RUN),
        *_recorded(cluster, "failed", broken.result(), "failed-step"),
        *_recorded(cluster, "cancelled", cancelled.result()),
    ]
    return f"wrote {', '.join(written)}"


def _broken(cluster: Cluster) -> str:
    """Run into training that must fail; return the run's name."""
    name = f"{cluster.prefix}-broken"
    home = {"store": f"{cluster.profile.store}/broken"}
    done = cluster.submitted(name, *SMALL, *BROKEN, **home)
    require(done.code == 1, f"a run that cannot succeed ended with {done.code}: {done.last()}")
    return name


def _cancelled(cluster: Cluster) -> str:
    """Cancel a run in its first step; return its name once its exit task has ended, too."""
    name = f"{cluster.prefix}-stopped"
    home = {"store": f"{cluster.profile.store}/stopped"}
    settings = [word for each in SMALL for word in ("--set", each)]
    cluster.lidr("submit", "tiny_world", *settings, "--run", name, **home).require()
    wait_for("its first step", lambda: _prepares(cluster, name), 600)
    cluster.lidr("cancel", name, **home).require()
    wait_for("its exit task", lambda: _ended(cluster, name), 600)
    return name


def _prepares(cluster: Cluster, name: str) -> bool:
    """Tell whether the pod of the first step runs."""
    return any(
        node["phase"] == "Running" and node["type"] == "Pod" and "prepare(0)" in node["name"]
        for workflow in cluster.workflows(name)
        for node in nodes_of(workflow).values()
    )


def _ended(cluster: Cluster, name: str) -> bool:
    return all(
        workflow.get("status", {}).get("phase") in ENDED for workflow in cluster.workflows(name)
    )


def _recorded(cluster: Cluster, how: str, name: str, log: str = "") -> list[str]:
    """Record a run, and the log of the step that failed under a name where one is given."""
    workflow = cluster.workflows(name)[-1]
    run_id = workflow["metadata"]["labels"]["pipeline/runid"]
    pods = cluster.items("pods", cluster.pods_namespace, f"--selector=pipeline/runid={run_id}")
    logs = {log: _log_of_failure(cluster, workflow)} if log else {}
    files = record(how, _run(cluster, run_id), workflow, pods, logs)
    return [file.name for file in files]


def _log_of_failure(cluster: Cluster, workflow: Object) -> str:
    """Return what the container of the failed step printed."""
    name = workflow["metadata"]["name"]
    failed = [
        node
        for node in nodes_of(workflow).values()
        if node["type"] == "Pod" and node["phase"] in ("Failed", "Error")
    ]
    steps = [node for node in failed if ".executor(" in node["name"]]
    told = "; ".join(f"{node['name']}: {node.get('message', '')}" for node in failed)
    require(steps, f"the run to record failed before its step could: {told}")
    pod = pod_name(name, steps[0])
    logs = ("logs", pod, "--container=main", f"--namespace={cluster.pods_namespace}")
    return cluster.kubectl(*logs).require().out


def _run(cluster: Cluster, run_id: str) -> Object:
    """Return a run as the API writes it, which the client's models do not keep whole."""
    client = Client(cluster.profile)

    def ask(**options: Any) -> Object:
        answer = client.runs.run_service_get_run(run_id, _preload_content=False, **options)
        found: Object = json.loads(answer.data)
        return found

    return client.call(f"read run {run_id}", ask)
