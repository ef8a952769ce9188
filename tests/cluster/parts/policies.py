"""NetworkPolicies: every way that is needed is open, others are closed."""

from __future__ import annotations

from collections.abc import Iterator

from lidr.pipelines.placement import OWN_LABEL
from tests.cluster.cluster import Cluster, require
from tests.cluster.probes import Target, connecting, listener, output, reached
from tests.cluster.results import Failure, LeftOut

SOURCES = {
    "stranger": {"app": "somebody-else"},
    "pipeline": {"workflows.argoproj.io/workflow": "lidr-test"} | OWN_LABEL,
    "rank": {"jobset.sigs.k8s.io/jobset-name": "lidr-test"} | OWN_LABEL,
    "follower": {"app.kubernetes.io/name": "lidr-champion-follower"} | OWN_LABEL,
    "champion": {"app.kubernetes.io/name": "lidr-champion"} | OWN_LABEL,
    "mlflow": {"app.kubernetes.io/name": "lidr-mlflow"} | OWN_LABEL,
}
"""Whose place a probe takes, by its labels; `outside` is a stranger in a namespace of its own."""

OPEN = {
    "mlflow": ("pipeline", "follower"),
    "postgres": ("mlflow",),
    "store": ("pipeline", "rank", "champion"),
    "rank": ("rank",),
    "api": ("pipeline",),
    "kubeflow": ("pipeline",),
}
CLOSED = {
    "mlflow": ("stranger", "outside", "rank", "champion"),
    "postgres": ("stranger", "outside", "pipeline", "rank", "follower", "champion"),
    "store": ("stranger", "outside", "follower", "mlflow"),
    "rank": ("stranger", "outside", "pipeline", "follower", "champion", "mlflow"),
}
"""Every target here is open to somebody above, so that a closed way is not merely a dead server."""


def policies(cluster: Cluster) -> str:
    """Try every way from a pod with each one's labels."""
    with cluster.made("namespace", f"{cluster.prefix}-outside"):
        found = _tried(cluster)
    absent = "" if _is_followed(cluster) else "follower"  # whose policy comes with it
    want_open = [way for way in _ways(OPEN) if way in found and way[0] != absent]
    want_closed = [way for way in _ways(CLOSED) if way in found]
    shut = [f"{source} to {target}" for source, target in want_open if not found[source, target]]
    require(not shut, f"closed, and needed: {', '.join(shut)}")
    loose = [f"{source} to {target}" for source, target in want_closed if found[source, target]]
    if len(loose) == len(want_closed):
        raise LeftOut(f"nothing enforces NetworkPolicies here; {len(want_open)} ways are open")
    if loose:
        raise Failure(f"open, and should not be: {', '.join(loose)}")
    require(len(want_closed) >= 20, f"only {len(want_closed)} ways could be tried")
    return f"{len(want_open)} ways open, {len(want_closed)} others closed"


def _is_followed(cluster: Cluster) -> bool:
    """Tell whether the champion's follower is installed."""
    policy = ("networkpolicy", "lidr-champion-follower", f"--namespace={cluster.namespace}")
    return bool(cluster.get(*policy))


def _ways(table: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    return ((source, target) for target, sources in table.items() for source in sources)


def _tried(cluster: Cluster) -> dict[tuple[str, str], bool]:
    """Return whether each source reached each target that there is."""
    outside = f"{cluster.prefix}-outside"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": outside}})
    name = f"{cluster.prefix}-listener"
    with cluster.made("pod", name, f"--namespace={cluster.namespace}"):
        address = listener(cluster, name, cluster.namespace, SOURCES["rank"])
        targets = _targets(cluster) | {"rank": (address, 29500)}
        told = {source: _from(cluster, source, targets) for source in [*SOURCES, "outside"]}
        return {
            (source, target): reached(output(cluster, pod, namespace)).get(where, False)
            for source, (pod, namespace) in told.items()
            for target, where in targets.items()
        }


def _targets(cluster: Cluster) -> dict[str, Target]:
    """Return the Services that there are, as name and port."""
    own, kubeflow = cluster.namespace, cluster.options.kfp_namespace
    services = {
        "mlflow": ("lidr-mlflow", own, 5000),
        "postgres": ("lidr-postgres", own, 5432),
        "store": ("lidr-object-store", own, 8333),
        "api": ("kubernetes", "default", 443),
        "kubeflow": ("ml-pipeline", kubeflow, 8887),
    }
    return {
        target: (f"{name}.{namespace}.svc", port)
        for target, (name, namespace, port) in services.items()
        if cluster.get("service", name, f"--namespace={namespace}")
    }


def _from(cluster: Cluster, source: str, targets: dict[str, Target]) -> tuple[str, str]:
    """Start a source's probe; return its name and namespace."""
    namespace = f"{cluster.prefix}-outside" if source == "outside" else cluster.namespace
    name = f"{cluster.prefix}-from-{source}"
    labels = SOURCES.get(source, SOURCES["stranger"])
    cluster.delete("pod", name, f"--namespace={namespace}", "--grace-period=0")
    cluster.apply(connecting(cluster, name, namespace, labels, list(targets.values())))
    cluster.afterwards(
        lambda: cluster.delete("pod", name, f"--namespace={namespace}", "--grace-period=0")
    )
    return name, namespace
