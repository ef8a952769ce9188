"""Whether Kueue's queues could ever admit the steps' pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from lidr.pipelines.checks.finding import Finding, missing, ok, unknown
from lidr.pipelines.checks.pod_request import PodRequest, amount_text, quantity
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object

_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_UNBOUNDED = Decimal("Infinity")

_FlavorLabels = Mapping[str, Mapping[str, str]]
"""Node labels by the name of a ResourceFlavor."""


def queue_findings(
    api: ClusterApi, namespace: str, queue: str, requests: Sequence[PodRequest]
) -> Iterator[Finding]:
    """Yield whether the ClusterQueue of a LocalQueue could admit the requests if it were idle."""
    title = f"quota of queue {queue}"
    try:
        local = api.get(f"{_KUEUE}/namespaces/{namespace}/localqueues/{queue}")
        name = local["spec"]["clusterQueue"] if local else ""
        shared = api.get(f"{_KUEUE}/clusterqueues/{name}") if name else None
        labels = _flavor_labels(api, shared, requests) if shared else {}
    except Denied as error:
        yield unknown(title, error.message, f"kubectl describe localqueue {queue} -n {namespace}")
        return
    if shared is None:
        return  # reported by the namespace's findings
    cohort = shared["spec"].get("cohortName", "")
    if short := _shortages(shared, labels, requests, borrows=bool(cohort)):
        remedy = f"kubectl edit clusterqueue {name}, or lower training.nodes and steps"
        yield missing(title, f"ClusterQueue {name} can never admit it: {short}", remedy)
    elif short := _shortages(shared, labels, requests, borrows=False):
        remedy = f"kubectl get clusterqueue -o yaml shows what cohort {cohort} has in all"
        borrows = f"it may borrow from cohort {cohort}, which is not looked at"
        yield unknown(title, f"ClusterQueue {name} lacks it, but {borrows}: {short}", remedy)
    else:
        yield ok(title, f"ClusterQueue {name} has enough in one flavor")


def _flavor_labels(
    api: ClusterApi, queue: Object, requests: Sequence[PodRequest]
) -> dict[str, dict[str, str]]:
    """Return the node labels of a ClusterQueue's flavors, if a request selects nodes at all."""
    if not any(each.resources.node_selector for each in requests):
        return {}
    groups = queue["spec"].get("resourceGroups", [])
    names = {flavor["name"] for group in groups for flavor in group["flavors"]}
    found = {name: api.get(f"{_KUEUE}/resourceflavors/{name}") or {} for name in sorted(names)}
    return {name: each.get("spec", {}).get("nodeLabels", {}) for name, each in found.items()}


def _shortages(
    queue: Object, labels: _FlavorLabels, requests: Sequence[PodRequest], *, borrows: bool
) -> str:
    """Return what a ClusterQueue lacks.

    Args:
        queue: a ClusterQueue.
        labels: of its flavors.
        requests: what is asked.
        borrows: count what a flavor may borrow: up to its limit, else any amount.
    """
    found = (_beyond_flavors(queue, labels, each, borrows=borrows) for each in requests)
    return "; ".join(filter(None, found))


def _beyond_flavors(
    queue: Object, labels: _FlavorLabels, request: PodRequest, *, borrows: bool
) -> str:
    """Return what of a request no flavor of a ClusterQueue has; "" if it could be admitted.

    All resources of a group come from one flavor of it (Kueue, "Flavors and borrowing semantics").
    """
    asked = {name: amount * request.needed for name, amount in request.per_pod.items()}
    selector, covered = request.resources.node_selector, set[str]()
    for group in queue["spec"].get("resourceGroups", []):
        own = {n: asked[n] for n in group.get("coveredResources", asked) if n in asked}
        covered |= own.keys()
        lacks = []
        for flavor in group["flavors"]:
            if _contradicts(labels.get(flavor["name"], {}), selector):
                continue
            has = {each["name"]: _quota(each, borrows=borrows) for each in flavor["resources"]}
            lacks.append([n for n, amount in own.items() if amount > has.get(n, Decimal(0))])
        if own and not lacks:
            wanted = ", ".join(f"{key}={value}" for key, value in selector.items())
            return f"{request.name} wants nodes labelled {wanted}, which no flavor has"
        if own and all(lacks):
            name = min(lacks, key=len)[0]
            amount = amount_text(name, asked[name])
            return f"{request.name} asks {amount} {name}, which no flavor has" + (
                " with the rest" if len(own) > 1 else ""
            )
    uncovered = sorted(asked.keys() - covered)
    return f"{request.name} asks {uncovered[0]}, of which it has no quota" if uncovered else ""


def _contradicts(labels: Mapping[str, str], selector: Mapping[str, str]) -> bool:
    """Return whether a flavor's nodes have another value of a selected label.

    Kueue ignores selected labels that the flavor does not name.
    """
    return any(labels.get(key, value) != value for key, value in selector.items())


def _quota(resource: Object, *, borrows: bool) -> Decimal:
    nominal, limit = quantity(resource["nominalQuota"]), resource.get("borrowingLimit")
    if not borrows:
        return nominal
    return _UNBOUNDED if limit is None else nominal + quantity(limit)
