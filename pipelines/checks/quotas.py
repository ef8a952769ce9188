"""Whether the ResourceQuotas of a namespace admit the steps' pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from lidr.pipelines.checks.finding import Finding, missing, ok, unknown
from lidr.pipelines.checks.pod_request import PodRequest, amount_text, quantity
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object

_ENOUGH = "has enough CPU, memory, GPUs and pods left for each step"

_UNUSED = ("ephemeral-storage", "services.loadbalancers", "services.nodeports")
"""Ends of a quota's keys for what no run uses."""


def quota_findings(
    api: ClusterApi, namespace: str, requests: Sequence[PodRequest]
) -> Iterator[Finding]:
    """Yield whether what is left of each ResourceQuota of a namespace is enough for each step."""
    try:
        quotas = list(api.items(f"/api/v1/namespaces/{namespace}/resourcequotas"))
    except Denied as error:
        remedy = f"kubectl auth can-i list resourcequotas -n {namespace}"
        yield unknown("ResourceQuota", error.message, remedy)
        return
    if not quotas:
        yield ok("ResourceQuota", f"namespace {namespace} has none")
    for quota in quotas:
        yield _quota(api, quota, namespace, requests)


def _quota(
    api: ClusterApi, quota: Object, namespace: str, requests: Sequence[PodRequest]
) -> Finding:
    name = quota["metadata"]["name"]
    title = f"ResourceQuota {name}"
    if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
        remedy = f"kubectl describe quota {name} -n {namespace}"
        return unknown(title, "counts some pods only", remedy)
    hard, used = quota["spec"].get("hard", {}), quota.get("status", {}).get("used", {})
    edit = f"kubectl edit resourcequota {name} -n {namespace}"
    if short := list(_shortages(hard, used, requests)):
        remedy = (
            f"kubectl get pods -n {namespace} shows who uses it; raise the quota with {edit}, or "
            "lower cpu, memory or accelerators under steps.<kind>"
        )
        return missing(title, "; ".join(short), remedy)
    found = ok(title, _ENOUGH)
    without_limit = [each for each in requests if not each.of_trainjob]
    if "limits.cpu" in hard and without_limit:
        taken = quantity(used.get("limits.cpu", 0))
        found = _cpu_limits(api, title, namespace, without_limit, hard["limits.cpu"], taken, edit)
    unread = sorted(key for key in hard if _is_unread(key, requests))
    if found.state != "ok" or not unread:
        return found
    if full := [key for key in unread if quantity(hard[key]) <= quantity(used.get(key, 0))]:
        detail = f"nothing is left of {', '.join(full)}, which lidr check does not look at"
        remedy = f"kubectl describe quota {name} -n {namespace} shows them; raise them with {edit}"
        return unknown(title, detail, remedy)
    return ok(title, f"{found.detail}; not looked at: {', '.join(unread)}")


def _is_unread(key: str, requests: Sequence[PodRequest]) -> bool:
    """Return whether a quota's key may concern what a run creates, but is not compared with it."""
    if key == "limits.cpu" or any(key in each.quota_usage for each in requests):
        return False
    other_device = key.startswith("requests.") and "/" in key
    return not other_device and "hugepages-" not in key and not key.endswith(_UNUSED)


def _shortages(
    hard: Mapping[str, str], used: Mapping[str, str], requests: Sequence[PodRequest]
) -> Iterator[str]:
    for each in requests:
        for resource, amount in each.quota_usage.items():
            if resource not in hard:
                continue
            left = quantity(hard[resource]) - quantity(used.get(resource, 0))
            if amount > left:
                rest = _rest(resource, left, hard[resource])
                yield f"{each.name} asks for {amount_text(resource, amount)} {resource}, {rest}"


def _rest(resource: str, left: Decimal, bound: str) -> str:
    if left < 0:
        return f"the quota of {bound} is exceeded by {amount_text(resource, -left)}"
    return f"{amount_text(resource, left)} of {bound} are left"


def _cpu_limits(
    api: ClusterApi,
    title: str,
    namespace: str,
    requests: Sequence[PodRequest],
    bound: str,
    taken: Decimal,
    edit: str,
) -> Finding:
    """Return whether a quota of CPU limits admits pods that set none.

    Kubernetes refuses them unless a LimitRange has a default, and that default must not be below
    their request. Only quotas of CPU and memory force pods to set what they count (kubernetes,
    validationSet in pkg/quota/v1/evaluator/core/pods.go), and steps set all of it but limits.cpu.
    A quota of ephemeral storage refuses no pod that sets none.
    """
    try:
        ranges = list(api.items(f"/api/v1/namespaces/{namespace}/limitranges"))
    except Denied as error:
        names = ", ".join(each.name for each in requests)
        detail = f"{_unset(names)}; {error.message}"
        shows = f"kubectl get limitrange -n {namespace} -o yaml shows whether there is a default"
        return unknown(title, detail, shows)
    limits = [each for found in ranges for each in found["spec"]["limits"]]
    defaults = [each.get("default", {}) for each in limits if each["type"] == "Container"]
    default = min((quantity(each["cpu"]) for each in defaults if "cpu" in each), default=None)
    refused = [each for each in requests if default is None or each.per_pod["cpu"] > default]
    if default is not None and not refused:
        for each in requests:
            if (asked := default * each.needed) > (left := quantity(bound) - taken):
                detail = (
                    f"{each.name} gets {amount_text('cpu', asked)} limits.cpu from a LimitRange, "
                    f"{_rest('cpu', left, bound)}"
                )
                return missing(title, detail, f"{edit}, or lower the LimitRange's default")
        return ok(title, f"{_ENOUGH}; a LimitRange sets its CPU limit")
    names = ", ".join(each.name for each in refused)
    largest = amount_text("cpu", max(each.per_pod["cpu"] for each in refused))
    why = "no LimitRange has a default"
    if default is not None:
        why = f"the LimitRange's default of {amount_text('cpu', default)} is below their request"
    detail = f"{_unset(names)}, and {why}"
    remedy = f"{edit}, and remove limits.cpu; or add a LimitRange with default cpu {largest}"
    return missing(title, detail, remedy)


def _unset(names: str) -> str:
    return f"it has limits.cpu, but the pods of {names} set no CPU limit"
