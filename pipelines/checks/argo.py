"""Argo's settings, read from its ConfigMap in the namespace of Kubeflow Pipelines."""

from __future__ import annotations

from typing import Any

from lidr.components.shared.config import yaml_text
from lidr.pipelines.cluster.api import ClusterApi

CONFIG_MAP = "workflow-controller-configmap"

_DEFAULT_STORE = "http://seaweedfs.{}:9000"
"""Kubeflow Pipelines' own object store (2.17, backend/src/v2/objectstore/config.go)."""

Settings = dict[str, Any]


def argo_settings(api: ClusterApi, namespace: str) -> Settings | None:
    """Return Argo's workflowDefaults and artifactRepository; None if there is no ConfigMap.

    Args:
        api: the cluster.
        namespace: of Kubeflow Pipelines.

    Raises:
        Denied: the user may not read the ConfigMap.
        NotYaml: a setting is not YAML.
    """
    found = api.get(f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}")
    if found is None:
        return None
    data = found.get("data") or {}
    settings = {**_mapping(data.get("config")), **data}
    return {key: _mapping(settings.get(key)) for key in ("workflowDefaults", "artifactRepository")}


def retry_strategy(settings: Settings) -> Settings:
    """Return the retryStrategy that Argo gives every template; {} for none."""
    spec = _mapping(settings["workflowDefaults"].get("spec"))
    return _mapping(_mapping(spec.get("templateDefaults")).get("retryStrategy"))


def artifact_store(settings: Settings | None, namespace: str) -> str:
    """Return the URL of the object store of tasks' logs and artifacts.

    Args:
        settings: Argo's; None if they cannot be read. If they name no store, it is the one that
            Kubeflow Pipelines brings.
        namespace: of Kubeflow Pipelines.
    """
    store = _mapping((settings or {}).get("artifactRepository", {}).get("s3"))
    if not (endpoint := store.get("endpoint")):
        return _DEFAULT_STORE.format(namespace)
    return f"{'http' if store.get('insecure') else 'https'}://{endpoint}"


def _mapping(found: Any) -> Settings:
    """Return a mapping, which the ConfigMap may hold as YAML text; {} for anything else."""
    parsed = yaml_text.parse(found) if isinstance(found, str) else found
    return dict(parsed) if isinstance(parsed, dict) else {}
