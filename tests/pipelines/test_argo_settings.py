"""What is read from Argo's ConfigMap: retries, and where artifacts go."""

from __future__ import annotations

from typing import Any, cast

import pytest
import yaml

from lidr.components.shared.config.yaml_text import NotYaml
from lidr.pipelines.checks.argo import argo_settings, artifact_store, retry_strategy
from lidr.pipelines.cluster.api import ClusterApi

RETRY = {"limit": "2", "retryPolicy": "OnError"}
DEFAULTS = {"spec": {"templateDefaults": {"retryStrategy": RETRY}}}


class Api:
    """Answers with one ConfigMap."""

    def __init__(self, data: dict[str, Any] | None) -> None:
        self.found = None if data is None else {"data": data}

    def get(self, path: str) -> Any:
        assert path == "/api/v1/namespaces/kubeflow/configmaps/workflow-controller-configmap"
        return self.found


def settings_of(data: dict[str, Any] | None) -> Any:
    return argo_settings(cast("ClusterApi", Api(data)), "kubeflow")


def stored_in(**s3: Any) -> dict[str, str]:
    return {"artifactRepository": yaml.safe_dump({"archiveLogs": True, "s3": s3})}


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (stored_in(endpoint="seaweedfs.kubeflow.svc:9000"), "https://seaweedfs.kubeflow.svc:9000"),
        (stored_in(endpoint="minio.kubeflow:9000", insecure=True), "http://minio.kubeflow:9000"),
        (stored_in(endpoint="s3.amazonaws.com"), "https://s3.amazonaws.com"),
        (stored_in(endpoint="store.lan", insecure=True), "http://store.lan"),
        ({"artifactRepository": "gcs: {bucket: b}"}, "http://seaweedfs.kubeflow:9000"),
        ({}, "http://seaweedfs.kubeflow:9000"),
        ({"artifactRepository": "[1]"}, "http://seaweedfs.kubeflow:9000"),
        (None, "http://seaweedfs.kubeflow:9000"),
    ],
)
def test_artifacts_go_where_argo_is_told(data: dict[str, Any] | None, address: str):
    assert artifact_store(settings_of(data), "kubeflow") == address


def test_settings_are_keys_of_their_own_or_one_text():
    apart = settings_of({"workflowDefaults": yaml.safe_dump(DEFAULTS)})
    together = settings_of({"config": yaml.safe_dump({"workflowDefaults": DEFAULTS})})
    assert retry_strategy(apart) == retry_strategy(together) == RETRY
    assert retry_strategy(settings_of({"workflowDefaults": "spec: 3"})) == {}
    with pytest.raises(NotYaml):
        settings_of({"workflowDefaults": "{"})
