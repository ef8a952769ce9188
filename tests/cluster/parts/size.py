"""The size of a long run's Workflow: five rounds, 16 shards, a judge; its steps are stand-ins."""

from __future__ import annotations

import json
import time

from tests.cluster.cluster import Cluster, require
from tests.cluster.standin import stand_in
from tests.cluster.workflow import ENDED, nodes_of, stored_bytes

ROUNDS, SHARDS, LIMIT = 5, 16, 524_288

JUDGE = {
    "endpoint": {"model": "judge"},
    "tasks": [
        {"name": "mt_bench", "questions": "s3://lidr/mt_bench.{language}.jsonl"},
        {
            "name": "x_alpacaeval",
            "questions": "s3://lidr/alpaca.{language}.json",
            "references": "s3://lidr/alpaca.{language}.json",
        },
        {"name": "head_to_head"},
    ],
}


def size(cluster: Cluster) -> str:
    """Run it on the real Argo, and count the Workflow as etcd holds it, again and again."""
    name = f"{cluster.prefix}-size"
    _submit(cluster, name)
    largest, nodes, phase = _followed(cluster, name)
    if phase != "Succeeded" and cluster.ended_by_kubeflow(name, _told(cluster, name)):
        _submit(cluster, name)
        largest, nodes, phase = _followed(cluster, name)
    cluster.figures.workflow_bytes = largest
    told = f"{largest:,} bytes at most, {nodes} nodes, {ROUNDS} rounds x {SHARDS} shards, {phase}"
    require(phase == "Succeeded", told)
    require(largest < LIMIT, f"{told}: more than {LIMIT:,}")
    return told


def _submit(cluster: Cluster, name: str) -> None:
    from lidr.pipelines.cli.inputs import read_profile, read_recipe
    from lidr.pipelines.cluster.client import Client
    from lidr.pipelines.cluster.submit import Submission, submit
    from lidr.pipelines.compiled import compile_loop

    settings = [f"gate.max_iterations={ROUNDS}", f"judge={json.dumps(JUDGE)}"]
    recipe = read_recipe("tiny_world", None, settings)
    profile = read_profile(*cluster.layers(shards=SHARDS, store=_store(cluster)))
    text = compile_loop(recipe, profile, name, ROUNDS, on_store=True)
    text = stand_in(text, profile.images.control)
    submit(Client(profile), Submission(recipe, profile, name, text))


def _store(cluster: Cluster) -> str:
    return f"{cluster.profile.store}/size"


def _told(cluster: Cluster, name: str) -> str:
    return cluster.lidr("status", name, store=_store(cluster)).out


def _followed(cluster: Cluster, name: str) -> tuple[int, int, str]:
    """Return the largest size on the way, the number of nodes and the phase at the end."""
    largest, nodes, end = 0, 0, time.monotonic() + 7200
    while time.monotonic() < end:
        time.sleep(10)
        for workflow in cluster.workflows(name)[-1:]:
            meta = workflow["metadata"]
            path = f"/apis/argoproj.io/v1alpha1/namespaces/{meta['namespace']}/workflows"
            raw = cluster.kubectl("get", "--raw", f"{path}/{meta['name']}").require().out
            largest = max(largest, stored_bytes(raw))
            now, phase = len(nodes_of(workflow)), workflow.get("status", {}).get("phase", "")
            if now // 50 > nodes // 50:
                cluster.say(f"{now} nodes, {largest:,} bytes")
            nodes = max(nodes, now)
            if phase in ENDED:
                return largest, nodes, phase
    return largest, nodes, "still running after two hours"
