"""Whether the queues of Kueue that a profile names admit anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lidr.pipelines.checks.api import ClusterApi, Denied, Object
from lidr.pipelines.checks.finding import Finding, missing, ok, unknown
from lidr.pipelines.checks.platform import KUEUE
from lidr.pipelines.checks.probe import APPLY, look

_GROUP = "kueue.x-k8s.io/v1beta2"


def findings(api: ClusterApi, namespace: str, name: str) -> Iterator[Finding]:
    """Yield whether a LocalQueue and its ClusterQueue are there, and admit anything."""
    title, group = f"LocalQueue {name}", _GROUP
    if not api.serves(group, "localqueues"):
        yield unknown(title, f"not looked at: {KUEUE.name} does not serve {group}")
        return
    kept: list[str] = []

    def judge(found: Object) -> Finding:
        kept.append(found["spec"]["clusterQueue"])
        return ok(title, f"of ClusterQueue {kept[0]}")

    path = f"/apis/{group}/namespaces/{namespace}/localqueues/{name}"
    remedy = f"{APPLY} with manifests/components/kueue, or leave queue empty in the profile"
    found = look(api, title, path, remedy, judge)
    if not kept:
        yield found
        return
    shared = f"ClusterQueue {kept[0]}"
    remedy = "kubectl apply -k manifests/overlays/NAME/cluster, by an administrator"
    above = look(
        api,
        shared,
        f"/apis/{group}/clusterqueues/{kept[0]}",
        remedy,
        lambda found: _admits(api, shared, found, namespace),
    )
    # An inactive ClusterQueue makes its LocalQueues inactive: one cause, one finding.
    if above.state != "missing":
        own = api.get(path) or {}
        found = _active(title, own, f"kubectl describe localqueue {name} -n {namespace}")
    yield found
    yield above


def _admits(api: ClusterApi, title: str, found: Object, namespace: str) -> Finding:
    """Return whether a ClusterQueue is active, and for this namespace at all: else all waits."""
    describe = f"kubectl describe clusterqueue {found['metadata']['name']}"
    state = _active(title, found, describe)
    if state.state == "missing":
        return state
    labels = _labels(api, namespace)
    if labels is not None and not selects(found["spec"].get("namespaceSelector"), labels):
        told = f"admits nothing of namespace {namespace}, which its namespaceSelector leaves out"
        return missing(title, told, f"{describe}; apply cluster/ of the overlay for {namespace}")
    return state


def _labels(api: ClusterApi, namespace: str) -> dict[str, str] | None:
    """Return a namespace's labels, or None where it may not be read."""
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}") or {}
    except Denied:
        return None
    named = {"kubernetes.io/metadata.name": namespace}  # Kubernetes labels each with its name
    return named | (found.get("metadata", {}).get("labels") or {})


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Decide a label selector (meta/v1 LabelSelector); none selects nothing."""
    if selector is None:
        return False
    given = selector.get("matchLabels") or {}
    return given.items() <= labels.items() and all(
        _matches(each, labels) for each in selector.get("matchExpressions") or []
    )


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


def workload_priority(api: ClusterApi, name: str) -> Finding:
    """Return whether a class of priorities in queues is there."""
    title = f"WorkloadPriorityClass {name}"
    path = f"/apis/{_GROUP}/workloadpriorityclasses/{name}"
    remedy = "kubectl get workloadpriorityclass names those there are; correct priority"
    return look(api, title, path, remedy, lambda found: ok(title, str(found.get("value", ""))))


def _active(title: str, found: Object, describe: str) -> Finding:
    conditions = {each["type"]: each for each in found.get("status", {}).get("conditions", [])}
    active = conditions.get("Active")
    if active and active["status"] != "True":
        told = active.get("message") or active.get("reason") or "no reason is given"
        return missing(title, f"is not active: {told}", f"{describe} says what it lacks")
    if not active:
        return unknown(title, "Kueue has not looked at it yet", f"{describe} says more")
    return ok(title, "active")
