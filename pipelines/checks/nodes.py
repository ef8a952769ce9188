"""Whether nodes would take the pods of a step, and the one thing that keeps them off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from components.shared.pools import NodeAffinity, NodeRequirement, Resources, Toleration
from pipelines.checks.api import ClusterApi, Denied, Object
from pipelines.checks.finding import Finding, missing, ok, unknown

_REPELLING = ("NoSchedule", "NoExecute")


def room(
    api: ClusterApi,
    kind: str,
    of_pod: Mapping[str, Decimal],
    pods: int,
    needed: int,
    resources: Resources,
) -> Finding:
    """Return whether nodes could take a step's pods if nobody else used them.

    Args:
        api: the cluster.
        kind: of step.
        of_pod: what one pod requests.
        pods: that are wanted side by side.
        needed: how many of them have to stand at the same time.
        resources: their selector, affinity and tolerations.
    """
    title = f"nodes for {kind}"
    selector = ",".join(f"{key}={value}" for key, value in resources.node_selector.items())
    try:
        nodes = list(api.each("/api/v1/nodes", **({"labelSelector": selector} if selector else {})))
    except Denied as error:
        return unknown(title, error.message, "kubectl auth can-i list nodes")
    nodes = [node for node in nodes if _wanted(node, resources.affinity)]
    labelled = f" labelled {selector}" if selector else ""
    if any(not term.weight for term in resources.affinity):
        labelled += " that affinity allows"
    ready = [node for node in nodes if not _is_off(node)]
    taken = [node for node in ready if not _repelling(node, resources.tolerations)]
    fitting = sum(_fits(node, of_pod) for node in taken)
    if fitting >= needed:
        side = f" of {pods} wanted side by side" if pods > fitting else ""
        return ok(
            title,
            f"room for {fitting} such pods{side} on {len(taken)} of {len(nodes)} nodes{labelled}",
        )
    if not nodes:
        return _absent(api, title, f"there is no node{labelled}", kind)
    if not ready:
        told = f"none of {len(nodes)} nodes{labelled} is ready and open for pods"
        return missing(title, told, "kubectl get nodes; kubectl uncordon NODE")
    large = sum(_fits(node, of_pod) for node in ready)
    if large >= needed:
        taints = sorted(
            {taint for node in ready for taint in _repelling(node, resources.tolerations)}
        )
        told = f"the nodes{labelled} that are large enough are tainted {', '.join(taints)}"
        return missing(title, told, f"Add to steps.{kind}.tolerations: {_toleration(taints[0])}")
    asked = ", ".join(f"{amount:f} {name}" for name, amount in of_pod.items())
    told = f"{needed} pods of {asked} do not fit: {_largest(ready, of_pod)}"
    return _absent(api, title, told, kind)


def _absent(api: ClusterApi, title: str, told: str, kind: str) -> Finding:
    """A pool at zero has no nodes to look at: only where nothing can add some is that an answer."""
    remedy = (
        f"kubectl get nodes --show-labels; correct steps.{kind} in the profile (node_selector, "
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


def _wanted(node: Object, affinity: Sequence[NodeAffinity]) -> bool:
    """Tell whether a node is one of those that are needed; what is preferred keeps none off."""
    terms = [term for term in affinity if not term.weight]
    labels = node["metadata"].get("labels", {})
    return not terms or any(all(_holds(each, labels) for each in term.match) for term in terms)


def _holds(needed: NodeRequirement, labels: Mapping[str, str]) -> bool:
    label = labels.get(needed.key)
    if needed.operator in ("Exists", "DoesNotExist"):
        return (label is not None) == (needed.operator == "Exists")
    if needed.operator == "NotIn":
        return label not in needed.values
    if needed.operator == "In":
        return label in needed.values
    if label is None or not label.lstrip("-").isdecimal():
        return False
    than = int(needed.values[0])
    return int(label) > than if needed.operator == "Gt" else int(label) < than


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
    from kubernetes.utils.quantity import parse_quantity

    found: Decimal = parse_quantity(node.get("status", {}).get("allocatable", {}).get(name, 0))
    return found


def _fits(node: Object, of_pod: Mapping[str, Decimal]) -> int:
    """Return how many pods a node holds that nobody else uses."""
    return min(int(_amount(node, name) // amount) for name, amount in of_pod.items() if amount)


def _largest(nodes: Sequence[Object], of_pod: Mapping[str, Decimal]) -> str:
    most = {name: max(_amount(node, name) for node in nodes) for name in of_pod}
    return "the largest node offers " + ", ".join(f"{most[name]:f} {name}" for name in of_pod)
