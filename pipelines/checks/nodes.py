"""Whether nodes would take the pods of a step, and the one thing that keeps them off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from lidr.components.shared.config.pools import NodeAffinity, NodeRequirement, Toleration
from lidr.pipelines.checks.api import ClusterApi, Denied, Object
from lidr.pipelines.checks.finding import Finding, missing, ok, unknown
from lidr.pipelines.checks.resource_requests import Ask, quantity

_REPELLING = ("NoSchedule", "NoExecute")


def room(api: ClusterApi, ask: Ask) -> Finding:
    """Return whether nodes could take a step's pods if nobody else used them."""
    title, place = f"nodes for {ask.name}", ask.resources
    selector = ",".join(f"{key}={value}" for key, value in place.node_selector.items())
    try:
        every = list(api.each("/api/v1/nodes", **({"labelSelector": selector} if selector else {})))
    except Denied as error:
        return unknown(title, error.message, "kubectl auth can-i list nodes")
    nodes = [node for node in every if _is_wanted(node, place.affinity)]
    labelled = f" labelled {selector}" if selector else ""
    labelled += " that the affinity wants" if len(nodes) < len(every) else ""
    ready = [node for node in nodes if not _is_off(node)]
    taken = [node for node in ready if not _repelling(node, place.tolerations)]
    fitting = sum(_fits(node, ask.of_pod) for node in taken)
    if fitting >= ask.needed:
        side = f" of {ask.pods} wanted side by side" if ask.pods > fitting else ""
        told = f"room for {fitting} such pods{side} on {len(taken)} of {len(nodes)} nodes"
        return ok(title, f"{told}{labelled}")
    if not nodes:
        return _absent(api, title, f"there is no node{labelled}", ask.key)
    if not ready:
        told = f"none of {len(nodes)} nodes{labelled} is ready and open for pods"
        return missing(title, told, "kubectl get nodes; kubectl uncordon NODE")
    if sum(_fits(node, ask.of_pod) for node in ready) >= ask.needed:
        found = (_repelling(node, place.tolerations) for node in ready)
        taints = sorted({taint for each in found for taint in each})
        told = f"the nodes{labelled} that are large enough are tainted {', '.join(taints)}"
        return missing(title, told, f"Add to {ask.key}.tolerations: {_toleration(taints[0])}")
    asked = ", ".join(f"{amount:f} {name}" for name, amount in ask.of_pod.items())
    told = f"{ask.needed} pods of {asked} do not fit: {_largest(ready, ask.of_pod)}"
    return _absent(api, title, told, ask.key)


def _is_wanted(node: Object, affinity: Sequence[NodeAffinity]) -> bool:
    """Tell whether one of the affinities that are needed holds on a node."""
    labels = node["metadata"].get("labels", {})
    needed = [each for each in affinity if not each.weight]
    return not needed or any(all(_holds(one, labels) for one in each.match) for each in needed)


def _holds(wanted: NodeRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(wanted.key)
    if wanted.operator in ("NotIn", "DoesNotExist"):
        return value is None or (wanted.operator == "NotIn" and value not in wanted.values)
    if value is None:
        return False
    if wanted.operator in ("Gt", "Lt"):
        number, bound = (int(each) if each.isdecimal() else 0 for each in (value, *wanted.values))
        return number > bound if wanted.operator == "Gt" else number < bound
    return wanted.operator == "Exists" or value in wanted.values


def _absent(api: ClusterApi, title: str, told: str, key: str) -> Finding:
    """A pool at zero has no nodes to look at: only where nothing can add some is that an answer."""
    remedy = (
        f"kubectl get nodes --show-labels; correct {key} in the profile (node_selector, "
        "accelerator_type, cpu, memory), or add nodes"
    )
    if scaler := _autoscaler(api):
        return unknown(title, f"{told} now; {scaler} may add some", remedy)
    return missing(title, told, remedy)


def _autoscaler(api: ClusterApi) -> str:
    if api.serves("karpenter.sh/v1", "nodepools"):
        return "Karpenter"
    path = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
    try:
        return "the cluster autoscaler" if api.get(path) else ""
    except Denied:
        return ""


def _is_off(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    ready = all(each["status"] == "True" for each in conditions if each["type"] == "Ready")
    return bool(node.get("spec", {}).get("unschedulable")) or not ready


def _repelling(node: Object, tolerations: Sequence[Toleration]) -> list[str]:
    """Return the taints that keep a pod off, as kubectl writes them."""
    return [
        f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
        for taint in node.get("spec", {}).get("taints", [])
        if taint["effect"] in _REPELLING
        and not any(_tolerates(each, taint) for each in tolerations)
    ]


def _tolerates(toleration: Toleration, taint: Object) -> bool:
    if toleration.effect and toleration.effect != taint["effect"]:
        return False
    if toleration.key and toleration.key != taint["key"]:
        return False
    return toleration.operator == "Exists" or toleration.value == taint.get("value", "")


def _toleration(taint: str) -> str:
    key, _, rest = taint.partition("=")
    return f"{{key: {key}, operator: Exists, effect: {rest.rpartition(':')[2]}}}"


def _amount(node: Object, name: str) -> Decimal:
    return quantity(node.get("status", {}).get("allocatable", {}).get(name, 0))


def _fits(node: Object, of_pod: Mapping[str, Decimal]) -> int:
    """Return how many pods a node holds that nobody else uses."""
    return min(int(_amount(node, name) // amount) for name, amount in of_pod.items() if amount)


def _largest(nodes: Sequence[Object], of_pod: Mapping[str, Decimal]) -> str:
    most = {name: max(_amount(node, name) for node in nodes) for name in of_pod}
    return "the largest node offers " + ", ".join(f"{most[name]:f} {name}" for name in of_pod)
