"""Whether there is room for the pods of every kind of step: quotas, nodes, queues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from lidr.pipelines.checks.api import ClusterApi, Denied, Object
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown
from lidr.pipelines.checks.nodes import room
from lidr.pipelines.checks.place import PlaceFinder
from lidr.pipelines.checks.resource_requests import Ask, asks_of, quantity, queues_of

_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"


def findings(inputs: CheckInputs, api: ClusterApi, place: PlaceFinder) -> Iterator[Finding]:
    """Yield where a step's pods would find no room."""
    if not api.is_reached():
        yield unknown("capacity", "not looked at: the Kubernetes API does not answer")
        return
    asks = asks_of(inputs.recipe, inputs.profile, place.find().pods, place.find().training)
    for namespace in dict.fromkeys(ask.namespace for ask in asks):
        yield from _quotas(api, namespace, [ask for ask in asks if ask.namespace == namespace])
    for ask in asks:
        yield room(api, ask)
    for (namespace, queue), waiting in queues_of(asks).items():
        yield from _queue(api, namespace, queue, waiting)


def _quotas(api: ClusterApi, namespace: str, asks: Sequence[Ask]) -> Iterator[Finding]:
    try:
        found = list(api.each(f"/api/v1/namespaces/{namespace}/resourcequotas"))
    except Denied as error:
        told = f"kubectl auth can-i list resourcequotas -n {namespace}"
        yield unknown("ResourceQuota", error.message, told)
        return
    if not found:
        yield ok("ResourceQuota", f"namespace {namespace} has none")
    for quota in found:
        yield _quota(quota, namespace, asks)


def _quota(quota: Object, namespace: str, asks: Sequence[Ask]) -> Finding:
    name = quota["metadata"]["name"]
    title = f"ResourceQuota {name}"
    if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
        remedy = f"kubectl describe quota {name} -n {namespace}"
        return unknown(title, "counts some pods only", remedy)
    hard, used = quota["spec"].get("hard", {}), quota.get("status", {}).get("used", {})
    short = []
    for ask in asks:
        for resource, amount in ask.of_quota.items():
            if resource not in hard:
                continue
            left = quantity(hard[resource]) - quantity(used.get(resource, 0))
            if amount > left:
                rest = f"{shown(left)} of {hard[resource]} are left"
                short.append(f"{ask.name} asks {shown(amount)} {resource}, {rest}")
    if short:
        remedy = (
            f"kubectl get pods -n {namespace} shows who uses it; raise it with "
            f"kubectl edit resourcequota {name} -n {namespace}, or lower steps in the profile"
        )
        return missing(title, "; ".join(short), remedy)
    return ok(title, "the largest step fits into what is left")


def _queue(api: ClusterApi, namespace: str, queue: str, asks: Sequence[Ask]) -> Iterator[Finding]:
    """Yield whether the ClusterQueue behind a LocalQueue could ever admit what waits there."""
    title = f"quota of queue {queue}"
    try:
        local = api.get(f"{_KUEUE}/namespaces/{namespace}/localqueues/{queue}")
        name = local["spec"]["clusterQueue"] if local else ""
        shared = api.get(f"{_KUEUE}/clusterqueues/{name}") if name else None
    except Denied as error:
        yield unknown(title, error.message, f"kubectl describe localqueue {queue} -n {namespace}")
        return
    if shared is None:
        return  # the objects' findings say so
    if shared["spec"].get("cohortName"):
        yield ok(title, f"ClusterQueue {name} may borrow from its cohort")
        return
    most = _most(shared)
    short = [
        f"{ask.name} asks {shown(amount * ask.needed)} {resource}, "
        f"a flavor has {shown(most.get(resource, Decimal(0)))}"
        for ask in asks
        for resource, amount in ask.of_pod.items()
        if amount * ask.needed > most.get(resource, Decimal(0))
    ]
    if short:
        remedy = f"kubectl edit clusterqueue {name}, or lower training.nodes and steps"
        yield missing(title, f"ClusterQueue {name} admits it never: {'; '.join(short)}", remedy)
    else:
        yield ok(title, f"ClusterQueue {name} has it in one flavor")


def _most(queue: Object) -> dict[str, Decimal]:
    """Return the most of each resource that one flavor of a ClusterQueue has."""
    most: dict[str, Decimal] = {}
    for group in queue["spec"].get("resourceGroups", []):
        for flavor in group["flavors"]:
            for each in flavor["resources"]:
                nominal = quantity(each["nominalQuota"])
                most[each["name"]] = max(nominal, most.get(each["name"], Decimal(0)))
    return most


def shown(amount: Decimal) -> str:
    """Return a number, or bytes as 256Gi where it is large."""
    return f"{amount / (1 << 30):.4g}Gi" if amount >= 1 << 30 else f"{amount.normalize():f}"
