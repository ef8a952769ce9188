"""Whether the ResourceQuotas of a namespace admit the steps' pods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from lidr.pipelines.checks.finding import Finding, missing, ok, unknown
from lidr.pipelines.checks.pod_request import PodRequest, amount_text, quantity
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object


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
            f"kubectl get pods -n {namespace} shows who uses it; raise it with {edit}, or lower "
            "steps in the profile"
        )
        return missing(title, "; ".join(short), remedy)
    without_limit = [each for each in requests if not each.of_trainjob]
    if "limits.cpu" in hard and without_limit:
        left = quantity(hard["limits.cpu"]) - quantity(used.get("limits.cpu", 0))
        return _cpu_limits(api, title, namespace, without_limit, left, edit)
    return ok(title, "each step fits into what is left")


def _shortages(
    hard: Mapping[str, str], used: Mapping[str, str], requests: Sequence[PodRequest]
) -> Iterator[str]:
    for each in requests:
        for resource, amount in each.quota_usage.items():
            if resource not in hard:
                continue
            left = quantity(hard[resource]) - quantity(used.get(resource, 0))
            if amount > left:
                rest = f"{amount_text(resource, left)} of {hard[resource]} are left"
                yield f"{each.name} asks {amount_text(resource, amount)} {resource}, {rest}"


def _cpu_limits(
    api: ClusterApi,
    title: str,
    namespace: str,
    requests: Sequence[PodRequest],
    left: Decimal,
    edit: str,
) -> Finding:
    """Return whether a quota of CPU limits admits pods that set none.

    Kubernetes refuses them unless a LimitRange has a default, and that default must not be below
    their request. Of what a quota can make a pod set, this is all that steps leave out: its
    evaluator wants CPU and memory alone, so a quota of ephemeral storage refuses nothing
    (kubernetes, pkg/quota/v1/evaluator/core/pods.go, validationSet).
    """
    try:
        ranges = list(api.items(f"/api/v1/namespaces/{namespace}/limitranges"))
    except Denied as error:
        detail = f"bounds limits.cpu, which steps do not set; {error.message}"
        shows = f"kubectl get limitrange -n {namespace} -o yaml shows whether there is a default"
        return unknown(title, detail, shows)
    limits = [each for found in ranges for each in found["spec"]["limits"]]
    defaults = [each.get("default", {}) for each in limits if each["type"] == "Container"]
    default = min((quantity(each["cpu"]) for each in defaults if "cpu" in each), default=None)
    refused = [each for each in requests if default is None or each.per_pod["cpu"] > default]
    if default is not None and not refused:
        for each in requests:
            if (asked := default * each.needed) > left:
                detail = (
                    f"{each.name} gets {amount_text('cpu', asked)} limits.cpu from a LimitRange, "
                    f"{amount_text('cpu', left)} are left"
                )
                return missing(title, detail, f"{edit}, or lower the LimitRange's default")
        return ok(title, "each step fits into what is left; a LimitRange sets its CPU limit")
    names = ", ".join(each.name for each in refused)
    largest = amount_text("cpu", max(each.per_pod["cpu"] for each in refused))
    why = "no LimitRange has a default"
    if default is not None:
        why = f"the LimitRange's default of {amount_text('cpu', default)} is below their request"
    detail = f"bounds limits.cpu, which {names} do not set, and {why}"
    remedy = f"{edit}, and remove limits.cpu; or add a LimitRange with default cpu {largest}"
    return missing(title, detail, remedy)
