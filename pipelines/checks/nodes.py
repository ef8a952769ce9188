"""Whether a cluster's nodes, were they idle, could take the steps' pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from lidr.components.shared.config.pools import NodeAffinity, NodeRequirement, Toleration
from lidr.pipelines.checks.finding import Finding, missing, ok, unknown
from lidr.pipelines.checks.pod_request import PodRequest, amount_text, quantity
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object

_REPELLING_EFFECTS = ("NoSchedule", "NoExecute")

_CLOSING_TAINTS = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "karpenter.sh/",
    "ToBeDeletedByClusterAutoscaler",
)
"""Prefixes of the taints on nodes that are not ready or are being removed; steps should not
tolerate these. DeletionCandidateOfClusterAutoscaler repels nothing (PreferNoSchedule)."""


def nodes_findings(api: ClusterApi, requests: Sequence[PodRequest]) -> Iterator[Finding]:
    """Yield for each request whether the nodes could take its pods; if not, why."""
    listed: dict[str, list[Object]] = {}
    for each in requests:
        labels = each.resources.node_selector
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        try:
            if selector not in listed:
                query = {"labelSelector": selector} if selector else {}
                listed[selector] = list(api.items("/api/v1/nodes", **query))
        except Denied as error:
            remedy = "kubectl auth can-i list nodes"
            yield unknown(f"nodes for {each.name}", error.message, remedy)
        else:
            yield _nodes(api, each, selector, listed[selector])


def _nodes(api: ClusterApi, request: PodRequest, selector: str, every: list[Object]) -> Finding:
    """Return whether the nodes that a selector finds could take a request's pods; if not, why."""
    title, wanted = f"nodes for {request.name}", request.resources
    nodes = [node for node in every if _matches(node, wanted.affinity)]
    labelled = f" labelled {selector}" if selector else ""
    labelled += " that the affinity wants" if len(nodes) < len(every) else ""
    ready = [node for node in nodes if _is_schedulable(node)]
    open_nodes = [node for node in ready if not untolerated(_taints(node), wanted.tolerations)]
    fitting = sum(_slots(node, request.per_pod) for node in open_nodes)
    if fitting >= request.needed:
        side = f" of {request.pods} wanted side by side" if request.pods > fitting else ""
        room = f"room for {fitting} such pods{side} on {len(open_nodes)} of {len(nodes)} nodes"
        return ok(title, f"{room}{labelled}")
    if nodes and not ready:
        detail = f"none of {len(nodes)} nodes{labelled} is ready and open for pods"
        remedy = "kubectl describe nodes says why; kubectl uncordon NODE opens a cordoned one"
        return _lacking(api, title, detail, remedy)
    if sum(_slots(node, request.per_pod) for node in ready) >= request.needed:
        return _lacking(api, title, *_too_tainted(request, ready, labelled))
    remedy = (
        f"kubectl get nodes --show-labels; correct {request.key} in the profile (node_selector, "
        "accelerator_type, cpu, memory), or add nodes"
    )
    if not nodes:
        return _lacking(api, title, f"there is no node{labelled}", remedy)
    return _lacking(api, title, _too_small(request, ready, fitting, labelled), remedy)


def _matches(node: Object, affinity: Sequence[NodeAffinity]) -> bool:
    """Return whether a node satisfies one of the required affinities, if there are any."""
    labels = node["metadata"].get("labels", {})
    required = [each for each in affinity if not each.weight]
    return not required or any(all(holds(one, labels) for one in each.match) for each in required)


def holds(wanted: NodeRequirement, labels: Mapping[str, str]) -> bool:
    """Return whether a node's labels meet a requirement."""
    value = labels.get(wanted.key)
    if wanted.operator in ("NotIn", "DoesNotExist"):
        return value is None or (wanted.operator == "NotIn" and value not in wanted.values)
    if value is None:
        return False
    if wanted.operator in ("Gt", "Lt"):
        try:
            number, bound = map(int, (value, *wanted.values))
        except ValueError:  # a label that is not a number does not match
            return False
        return number > bound if wanted.operator == "Gt" else number < bound
    return wanted.operator == "Exists" or value in wanted.values


def _too_tainted(request: PodRequest, ready: list[Object], labelled: str) -> tuple[str, str]:
    """Return which taints keep the pods off nodes that are large enough, and the remedy."""
    large = [node for node in ready if _slots(node, request.per_pod)]
    tolerations = request.resources.tolerations
    repelled = (sorted(untolerated(_taints(node), tolerations)) for node in large)
    taints = min(filter(None, repelled), key=len)
    detail = f"nodes{labelled} that are large enough are tainted {', '.join(taints)}"
    return detail, toleration_remedy(request, taints)


def _too_small(request: PodRequest, ready: list[Object], fitting: int, labelled: str) -> str:
    """Return how many of the pods fit; if none does, which node comes closest to taking one."""
    per_pod = request.per_pod
    asked = ", ".join(f"{amount_text(name, amount)} {name}" for name, amount in per_pod.items())
    if slots := sum(_slots(node, per_pod) for node in ready):
        room = f"room for {fitting} of {request.needed} pods of {asked} on the nodes{labelled}"
        tainted = f", and for {slots - fitting} on those whose taints are not tolerated"
        return room + (tainted if slots > fitting else "")
    closest = min(ready, key=lambda node: sum(_shortfalls(node, per_pod).values()))
    has = ", ".join(
        f"{amount_text(name, _allocatable(closest, name))} {name}"
        for name in _shortfalls(closest, per_pod)
    )
    name = closest["metadata"]["name"]
    return f"a pod of {asked} fits on no node{labelled}: {name} comes closest, with {has}"


def _lacking(api: ClusterApi, title: str, detail: str, remedy: str) -> Finding:
    """Return the finding `missing`, or `unknown` where an autoscaler adds nodes, or may do so."""
    try:
        scaler = _autoscaler(api)
    except Denied as error:
        unseen = f"whether an autoscaler may add nodes is not known: {error.message}"
        return unknown(title, f"{detail}; {unseen}", remedy)
    if scaler:
        return unknown(title, f"{detail}; {scaler} may add nodes", remedy)
    return missing(title, detail, remedy)


def _autoscaler(api: ClusterApi) -> str:
    """Return what adds nodes to the cluster, or "".

    Raises:
        Denied: the cluster autoscaler's status may not be read.
    """
    if api.serves("karpenter.sh/v1", "nodepools"):
        return "Karpenter"
    path = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
    return "the cluster autoscaler" if api.get(path) else ""


def _is_schedulable(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    ready = all(each["status"] == "True" for each in conditions if each["type"] == "Ready")
    closing = any(taint["key"].startswith(_CLOSING_TAINTS) for taint in _repelling(_taints(node)))
    return ready and not closing and not node.get("spec", {}).get("unschedulable")


def _taints(node: Object) -> list[Object]:
    taints: list[Object] = node.get("spec", {}).get("taints", [])
    return taints


def _repelling(taints: Sequence[Object]) -> list[Object]:
    return [taint for taint in taints if taint["effect"] in _REPELLING_EFFECTS]


def untolerated(taints: Sequence[Object], tolerations: Sequence[Toleration]) -> list[str]:
    """Return those taints of a node that keep a pod off it, each as `key=value:effect`."""
    return [
        f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
        for taint in _repelling(taints)
        if not any(_tolerates(each, taint) for each in tolerations)
    ]


def _tolerates(toleration: Toleration, taint: Object) -> bool:
    if toleration.effect and toleration.effect != taint["effect"]:
        return False
    if toleration.key and toleration.key != taint["key"]:
        return False
    return toleration.operator == "Exists" or toleration.value == taint.get("value", "")


def toleration_remedy(request: PodRequest, taints: Sequence[str]) -> str:
    """Return what to add to the profile so that a request's pods tolerate some taints.

    Args:
        request: whose pods do not.
        taints: each as `key=value:effect`.
    """
    return f"Add to {request.key}.tolerations: {', '.join(map(_toleration, taints))}"


def _toleration(taint: str) -> str:
    key, _, rest = taint.partition("=")
    return f"{{key: {key}, operator: Exists, effect: {rest.rpartition(':')[2]}}}"


def _allocatable(node: Object, name: str) -> Decimal:
    return quantity(node.get("status", {}).get("allocatable", {}).get(name, 0))


def _slots(node: Object, per_pod: Mapping[str, Decimal]) -> int:
    """Return how many such pods fit on a node that runs nothing else."""
    return min(int(_allocatable(node, name) // size) for name, size in per_pod.items() if size)


def _shortfalls(node: Object, per_pod: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Return, for each resource that a node has too little of, the missing share of the request."""
    has = {name: _allocatable(node, name) for name in per_pod}
    return {n: 1 - has[n] / size for n, size in per_pod.items() if has[n] < size}
