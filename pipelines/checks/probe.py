"""Looking at one object of a cluster."""

from __future__ import annotations

from collections.abc import Callable

from lidr.pipelines.checks.api import ClusterApi, Denied, Object
from lidr.pipelines.checks.finding import Finding, missing, unknown

APPLY = "kubectl apply -k manifests/overlays/NAME"


def look(
    api: ClusterApi, name: str, path: str, remedy: str, judge: Callable[[Object], Finding]
) -> Finding:
    """Return what is to be said of one object.

    Args:
        api: the cluster.
        name: of the finding.
        path: of the object.
        remedy: where there is none.
        judge: says what is to be said of it where it is there.
    """
    try:
        found = api.get(path)
    except Denied as error:
        return unknown(name, error.message, f"kubectl auth can-i get {path.rsplit('/', 2)[1]}")
    return judge(found) if found else missing(name, "is not there", remedy)
