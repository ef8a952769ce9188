"""Renews tests/recordings from this cluster: a run that ended well, and one that failed."""

from __future__ import annotations

import json
from typing import Any

from lidr.pipelines.cluster.client import Client
from tests.cluster.cluster import Cluster, Object, require
from tests.cluster.parts.submitting import RUN, first_run
from tests.cluster.recording import record
from tests.faults.lives import SIZES as SMALL

BROKEN = ("training.learning_rate=1.0e+30",)
"""A run with it fails in the middle of an iteration: its weights are no numbers."""


def renew(cluster: Cluster) -> str:
    """Record a run of each kind, and say which files were written."""
    first_run(cluster)
    name = f"{cluster.prefix}-broken"
    home = {"store": f"{cluster.profile.store}/broken"}
    done = cluster.submitted(name, *SMALL, *BROKEN, **home)
    require(done.code == 1, f"a run that cannot succeed ended with {done.code}: {done.last()}")
    written = [*_recorded(cluster, "succeeded", RUN), *_recorded(cluster, "failed", name)]
    return f"wrote {', '.join(written)}"


def _recorded(cluster: Cluster, how: str, name: str) -> list[str]:
    workflow = cluster.workflows(name)[-1]
    run_id = workflow["metadata"]["labels"]["pipeline/runid"]
    pods = cluster.items("pods", cluster.pods_namespace, f"--selector=pipeline/runid={run_id}")
    files = record(how, _run(cluster, run_id), workflow, pods)
    return [file.name for file in files]


def _run(cluster: Cluster, run_id: str) -> Object:
    """Return a run as the API writes it, which the client's models do not keep whole."""
    client = Client(cluster.profile)

    def ask(**options: Any) -> Object:
        answer = client.runs.run_service_get_run(run_id, _preload_content=False, **options)
        found: Object = json.loads(answer.data)
        return found

    return client.call(f"read run {run_id}", ask)
