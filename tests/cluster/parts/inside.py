"""lidr check --in-cluster: each kind's pod looks, what is wrong is found in a minute, none stay."""

from __future__ import annotations

import json
import time
from typing import Any

from tests.cluster.cluster import Cluster, require
from tests.cluster.commands import wait_for

_MINUTE = 60.0

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an image that does not exist": ({"images": {"control": "lidr/no-such-image:0"}}, "starts"),
    "a missing Secret": ({"secrets": {"lidr-no-such-secret": ["KEY"]}}, "starts"),
    "a closed policy": ({"tracking_uri": "http://kubernetes.default:5000"}, "MLflow"),
}
"""What is changed in the profile, and the finding that must name it."""


def inside(cluster: Cluster) -> str:
    """Nothing is missing; each wrong profile is found in a minute; no Job and no pod stays."""
    said = [f"{_look(cluster, {}, '')} findings ok"]
    for what, (keys, name) in WRONG.items():
        begun = time.monotonic()
        _look(cluster, keys, name)
        took = time.monotonic() - begun
        require(took < _MINUTE + 30, f"{what} was found after {took:.0f} s")
        said.append(f"{what} after {took:.0f} s")
    wait_for("the probes to be gone", lambda: not _left(cluster), 180, 5)
    return "; ".join(said)


def _look(cluster: Cluster, keys: dict[str, Any], wrong: str) -> int:
    """Return how many findings are ok; require that what is missing is named as it should be."""
    arguments = ("check", "tiny_world", "--in-cluster", "--output", "json")
    done = cluster.lidr(*arguments, seconds=300, **keys)
    require(done.out.startswith("{"), f"lidr check says {done.last()}")
    findings = json.loads(done.out)["findings"]
    missing = {each["name"]: each["detail"] for each in findings if each["state"] == "missing"}
    require(set(missing) == ({wrong} if wrong else set()), f"missing: {missing}")
    return sum(each["state"] == "ok" for each in findings)


def _left(cluster: Cluster) -> list[str]:
    """Return what is there of probes, in every namespace of the runs."""
    return [
        each["metadata"]["name"]
        for namespace in {cluster.namespace, cluster.pods_namespace}
        for kind in ("jobs", "pods")
        for each in cluster.items(kind, namespace, "--selector=lidr.dev/check")
    ]
