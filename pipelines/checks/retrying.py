"""What Argo starts again: Kubeflow Pipelines' own settings are merged into every step's."""

from __future__ import annotations

from typing import Any

from lidr.components.shared.config import yaml_text
from lidr.pipelines.checks.api import ClusterApi, Denied
from lidr.pipelines.checks.finding import CheckInputs, Finding, ok, unknown

TITLE = "retries by Argo"
MAP = "workflow-controller-configmap"

_FAILED = "a step that ends with an error"
_LOST = "a pod that is deleted, evicted or lost with its node"
POLICIES = {
    "OnError": (f"{_LOST} is made anew", f"{_FAILED} is not, whatever retries says"),
    "OnFailure": (f"{_FAILED} is tried again", f"{_LOST} is not"),
    "Always": (f"{_FAILED} is tried again", f"and {_LOST} is made anew"),
    "OnTransientError": ("what Argo takes for a passing fault is tried again", "nothing else is"),
}
_DEFAULT = "OnFailure"
"""Argo's own, for a retryStrategy that names no policy."""


def finding(inputs: CheckInputs, api: ClusterApi, namespace: str) -> Finding:
    """Return what will be retried, from Argo's settings in Kubeflow's namespace.

    Args:
        inputs: what is to run.
        api: the cluster.
        namespace: of Kubeflow Pipelines; "" where it is not known.
    """
    remedy = f"kubectl get configmap {MAP} -n {namespace or 'KUBEFLOW'} -o yaml shows it"
    if not namespace:
        return unknown(TITLE, "the namespace of Kubeflow Pipelines is not known", remedy)
    try:
        found = api.get(f"/api/v1/namespaces/{namespace}/configmaps/{MAP}")
    except Denied as error:
        return unknown(TITLE, error.message, remedy)
    if found is None:
        return unknown(TITLE, f"namespace {namespace} has no ConfigMap {MAP}", remedy)
    try:
        strategy = strategy_of(found.get("data") or {})
    except (yaml_text.NotYaml, AttributeError):
        return unknown(TITLE, f"ConfigMap {MAP} cannot be read", remedy)
    policy = str(strategy.get("retryPolicy") or _DEFAULT)
    does, does_not = POLICIES.get(policy, (f"policy {policy}", "which lidr does not know"))
    counts = {inputs.profile.resources_of(kind).retries.count for kind in ("generate", "control")}
    times = "/".join(map(str, sorted(counts)))
    return ok(TITLE, f"{policy}, {times} times: {does}; {does_not}")


def strategy_of(data: dict[str, str]) -> dict[str, Any]:
    """Return the retryStrategy that Argo gives every template; {} for none.

    Args:
        data: of Argo's ConfigMap: keys of their own, or all of them in `config`.

    Raises:
        NotYaml: it is not YAML.
    """
    settings: dict[str, Any] = {**(yaml_text.parse(data.get("config", "")) or {}), **data}
    defaults = settings.get("workflowDefaults") or {}
    if isinstance(defaults, str):
        defaults = yaml_text.parse(defaults) or {}
    template = (defaults.get("spec") or {}).get("templateDefaults") or {}
    return dict(template.get("retryStrategy") or {})
