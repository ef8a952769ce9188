"""Whether Kueue's queues could ever admit the steps' pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from lidr.components.shared.config.pools import NodeRequirement, Resources, Toleration
from lidr.pipelines.checks.finding import Finding, missing, ok, unknown
from lidr.pipelines.checks.nodes import holds, toleration_remedy, untolerated
from lidr.pipelines.checks.pod_request import PodRequest, amount_text, quantity
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object

_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"
_UNBOUNDED = Decimal("Infinity")
_LOWER = "training.nodes or the resources under steps"

_Flavors = Mapping[str, Object]
"""The spec of a ResourceFlavor by its name: labels and taints of its nodes."""

_Obstacle = tuple[str, str]
"""Why a ClusterQueue does not admit a request, and the remedy."""


def queue_findings(
    api: ClusterApi, namespace: str, queue: str, requests: Sequence[PodRequest]
) -> Iterator[Finding]:
    """Yield whether the ClusterQueue of a LocalQueue could admit the requests if it were idle."""
    title, unseen = f"quota of queue {queue}", ""
    flavors: dict[str, Object] = {}
    try:
        local = api.get(f"{_KUEUE}/namespaces/{namespace}/localqueues/{queue}")
        name = local["spec"]["clusterQueue"] if local else ""
        shared = api.get(f"{_KUEUE}/clusterqueues/{name}") if name else None
    except Denied as error:
        yield unknown(title, error.message, f"kubectl describe localqueue {queue} -n {namespace}")
        return
    if shared is None:
        return  # reported by the namespace's findings
    try:
        flavors = _flavors(api, shared)
    except Denied as error:  # labels and taints would only rule out more flavors
        unseen = error.message
    cohort = shared["spec"].get("cohortName", "")
    if found := _obstacles(shared, flavors, requests, borrows=bool(cohort)):
        yield missing(title, f"ClusterQueue {name} can never admit the pods: {found[0]}", found[1])
    elif found := _obstacles(shared, flavors, requests, borrows=False):
        remedy = f"kubectl get clusterqueue -o yaml shows what cohort {cohort} has in all"
        borrows = f"may borrow from cohort {cohort}, which is not looked at"
        detail = f"ClusterQueue {name} lacks quota, but {borrows}: {found[0]}"
        yield unknown(title, detail, remedy)
    elif unseen:
        detail = f"ClusterQueue {name} has enough in one flavor, but nothing is known of its nodes"
        yield unknown(title, f"{detail}: {unseen}", "kubectl auth can-i get resourceflavors")
    else:
        yield ok(title, f"ClusterQueue {name} has enough in one flavor")


def _flavors(api: ClusterApi, queue: Object) -> dict[str, Object]:
    """Return a ClusterQueue's flavors; one that does not exist has no labels and no taints."""
    groups = queue["spec"].get("resourceGroups", [])
    names = {flavor["name"] for group in groups for flavor in group["flavors"]}
    found = {name: api.get(f"{_KUEUE}/resourceflavors/{name}") or {} for name in sorted(names)}
    return {name: each.get("spec") or {} for name, each in found.items()}


def _obstacles(
    queue: Object, flavors: _Flavors, requests: Sequence[PodRequest], *, borrows: bool
) -> _Obstacle | None:
    """Return why a ClusterQueue cannot admit the requests, and what to do; None if it can.

    Args:
        queue: a ClusterQueue.
        flavors: its flavors.
        requests: what the steps' pods request.
        borrows: whether to count what a flavor may borrow; without a limit that is any amount.
    """
    every = (_obstacle(queue, flavors, each, borrows=borrows) for each in requests)
    found = [each for each in every if each]
    if not found:
        return None
    details, remedies = (dict.fromkeys(texts) for texts in zip(*found, strict=True))
    return "; ".join(details), "; ".join(remedies)


def _obstacle(
    queue: Object, flavors: _Flavors, request: PodRequest, *, borrows: bool
) -> _Obstacle | None:
    """Return why a ClusterQueue cannot admit a request, and the remedy; None if it can.

    One flavor must provide all resources of its group (Kueue, "Flavors and borrowing semantics").
    """
    groups, covered = queue["spec"].get("resourceGroups", []), set[str]()
    asked = {name: amount * request.needed for name, amount in request.per_pod.items()}
    pods = {"pods": Decimal(request.needed)}  # counted where the queue has a quota of them
    edit = f"kubectl edit clusterqueue {queue['metadata']['name']}"
    for group in groups:
        names = group.get("coveredResources", asked)
        own = {name: amount for name, amount in (asked | pods).items() if name in names}
        covered |= own.keys()
        usable = [each for each in group["flavors"] if _selects(request, flavors, each["name"])]
        if own and not usable:
            return _unlabelled(request)
        open_flavors = [each for each in usable if not _repels(request, flavors, each["name"])]
        if own and not open_flavors:
            return _tainted(request, flavors, [each["name"] for each in usable])
        lacks = [_lacking(flavor, own, borrows=borrows) for flavor in open_flavors]
        if own and all(lacks):
            name = min(lacks, key=len)[0]
            amount = amount_text(name, own[name])
            of_them = "" if len(open_flavors) == len(group["flavors"]) else " for its nodes"
            rest = " with the rest of its request" if len(own) > 1 else ""
            detail = f"{request.name} asks for {amount} {name}, which no flavor{of_them} has{rest}"
            return detail, f"{edit}, or lower {_LOWER}"
    if uncovered := sorted(asked.keys() - covered):
        detail = f"{request.name} asks for {uncovered[0]}, for which the queue has no quota"
        return detail, f"{edit}, or lower {_LOWER}"
    return None


def _lacking(flavor: Object, asked: Mapping[str, Decimal], *, borrows: bool) -> list[str]:
    """Return the resources of which a flavor has less than a request asks for."""
    has = {each["name"]: _quota(each, borrows=borrows) for each in flavor["resources"]}
    return [name for name, amount in asked.items() if amount > has.get(name, Decimal(0))]


def _unlabelled(request: PodRequest) -> _Obstacle:
    """Return the obstacle that no flavor's nodes have the labels that a request wants."""
    wanted = request.resources
    labels = ", ".join(f"{key}={value}" for key, value in wanted.node_selector.items())
    asked = f"labelled {labels}" if labels else "that match its affinity"
    if labels and _required(wanted):
        asked += " that match its affinity"
    remedy = (
        f"kubectl get resourceflavors -o yaml shows nodeLabels; correct {request.key} in the "
        "profile (node_selector, affinity), or add a flavor of such nodes to the queue"
    )
    return f"{request.name} wants nodes {asked}, which no flavor has", remedy


def _tainted(request: PodRequest, flavors: _Flavors, usable: Sequence[str]) -> _Obstacle:
    """Return the untolerated taints of the flavor that has the fewest, and the remedy."""
    name = min(usable, key=lambda each: len(_repels(request, flavors, each)))
    taints = sorted(_repels(request, flavors, name))
    detail = f"{request.name} does not tolerate {', '.join(taints)} of flavor {name}"
    return detail, toleration_remedy(request, taints)


def _repels(request: PodRequest, flavors: _Flavors, name: str) -> list[str]:
    """Return the taints of a flavor's nodes that a request's pods do not tolerate."""
    flavor = flavors.get(name, {})
    added = [
        Toleration(
            key=each.get("key", ""),
            operator=each.get("operator") or "Equal",
            value=each.get("value", ""),
            effect=each.get("effect", ""),
        )
        for each in flavor.get("tolerations", [])  # Kueue adds them to the pods that it admits
    ]
    return untolerated(flavor.get("nodeTaints", []), (*request.resources.tolerations, *added))


def _selects(request: PodRequest, flavors: _Flavors, name: str) -> bool:
    """Return whether a flavor's node labels meet a request's node selector and affinity.

    Kueue ignores requirements on labels that the flavor does not name.
    """
    labels = flavors.get(name, {}).get("nodeLabels", {})
    if any(labels.get(k, v) != v for k, v in request.resources.node_selector.items()):
        return False
    terms = [[one for one in term if one.key in labels] for term in _required(request.resources)]
    return not terms or any(all(holds(one, labels) for one in term) for term in terms)


def _required(wanted: Resources) -> list[tuple[NodeRequirement, ...]]:
    """Return the required affinities; a node must satisfy one of them."""
    return [each.match for each in wanted.affinity if not each.weight]


def _quota(resource: Object, *, borrows: bool) -> Decimal:
    nominal, limit = quantity(resource["nominalQuota"]), resource.get("borrowingLimit")
    if not borrows:
        return nominal
    return _UNBOUNDED if limit is None else nominal + quantity(limit)
