"""manifests/check.py with the real kubectl against an HTTP API server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.manifests.cluster_api import ClusterApi, serve
from tests.manifests.rendering import ROOT, needs_kubectl

pytestmark = needs_kubectl

IMAGES = [
    "ghcr.io/kubeflow/kfp-api-server:2.17.0",
    "registry.k8s.io/jobset/jobset:v0.12.0",
    "ghcr.io/kubeflow/trainer/trainer-controller-manager:v2.3.0@sha256:" + "0" * 64,
    "registry.k8s.io/kueue/kueue:v0.18.4",
]
SETTINGS = {"envFrom": [{"configMapRef": {"name": "pipeline-api-server-config"}}]}
CRDS = {
    "jobsets.jobset.x-k8s.io": "v1alpha2",
    "trainjobs.trainer.kubeflow.org": "v1alpha1",
    "trainingruntimes.trainer.kubeflow.org": "v1alpha1",
    "localqueues.kueue.x-k8s.io": "v1beta2",
    "clusterqueues.kueue.x-k8s.io": "v1beta2",
    "resourceflavors.kueue.x-k8s.io": "v1beta2",
}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[ClusterApi, Path]]:
    with serve(tmp_path) as (api, config):
        deploy(api, IMAGES)
        for name, version in CRDS.items():
            put_crd(api, name, version)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        api.objects["/api/v1/namespaces/lidr"] = thing("v1", "Namespace", "lidr", labels)
        path = "/api/v1/namespaces/lidr/secrets/lidr-hub"
        api.objects[path] = thing("v1", "Secret", "lidr-hub")
        yield api, config


def thing(version: str, kind: str, name: str, labels: dict[str, str] | None = None) -> dict:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels or {}},
    }


def deploy(api: ClusterApi, images: list[str], multi_user: bool = True) -> None:
    """Put Deployments of these images; Kubeflow's reads whom it is for from a ConfigMap."""
    items = [
        thing("apps/v1", "Deployment", f"d{number}")
        | {"spec": {"template": {"spec": {"containers": [{"image": image, **SETTINGS}]}}}}
        | {"status": {"availableReplicas": 1}}
        for number, image in enumerate(images)
    ]
    for item in items:
        item["metadata"]["namespace"] = "kubeflow"
    path = "/api/v1/namespaces/kubeflow/configmaps/pipeline-api-server-config"
    data = {"data": {"MULTIUSER": str(multi_user).lower()}}
    api.objects[path] = thing("v1", "ConfigMap", "pipeline-api-server-config") | data
    api.objects["/apis/apps/v1/deployments"] = {
        "apiVersion": "apps/v1",
        "kind": "DeploymentList",
        "items": items,
    }


def put_crd(api: ClusterApi, name: str, version: str) -> None:
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}"
    crd = thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", name)
    api.objects[path] = crd | {"spec": {"versions": [{"name": version, "served": True}]}}


def check(config: Path, overlay: str = "kind") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "check.py"), overlay],
        capture_output=True,
        text=True,
        env={**os.environ, "KUBECONFIG": str(config), "HOME": str(config.parent)},
    )


def test_a_cluster_with_everything_passes(cluster: tuple[ClusterApi, Path]):
    api, config = cluster
    done = check(config)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok    Kubernetes 1.34.1 (1.33 or newer)" in done.stdout
    assert "ok    Kubeflow Trainer 2.3 or newer: 2.3.0 runs" in done.stdout
    assert "-     KServe 0.16 or newer: no controller runs" in done.stdout
    assert "ok    Secret lidr-hub" in done.stdout
    assert "-     Secret lidr-mlflow: not there yet" in done.stdout
    assert "ok    Kubeflow Pipelines is for several users" in done.stdout
    assert api.written == [], "it only reads"


def test_what_is_old_or_missing_is_named(cluster: tuple[ClusterApi, Path]):
    api, config = cluster
    api.version = "v1.32.9"
    deploy(api, [IMAGES[0], IMAGES[1], IMAGES[3].replace("0.18.4", "0.9.1")])
    put_crd(api, "localqueues.kueue.x-k8s.io", "v1beta1")
    done = check(config)
    assert done.returncode == 1
    for line in (
        "FAIL  Kubernetes 1.32.9 (1.33 or newer)",
        "FAIL  Kubeflow Trainer 2.3 or newer: no controller runs",
        "FAIL  Kueue 0.16 or newer: 0.9.1 runs",
        "FAIL  localqueues.kueue.x-k8s.io: v1beta2 is not served (v1beta1)",
    ):
        assert line in done.stdout
    assert "4 of these must be fixed" in done.stderr


def test_a_controller_without_a_ready_pod_does_not_run(cluster: tuple[ClusterApi, Path]):
    api, config = cluster
    kueue = next(
        item
        for item in api.objects["/apis/apps/v1/deployments"]["items"]
        if "kueue" in item["spec"]["template"]["spec"]["containers"][0]["image"]
    )
    kueue["status"] = {"conditions": [{"type": "Available", "status": "True"}]}  # of 0 replicas
    done = check(config)
    assert done.returncode == 1
    still = f"Deployment {kueue['metadata']['name']} -n kubeflow"
    assert f"FAIL  Kueue 0.16 or newer: no pod of {still} is ready" in done.stdout


def test_a_cluster_that_does_not_answer_is_said(tmp_path: Path):
    with serve(tmp_path) as (_, config):
        pass
    done = check(config)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "refused" in done.stderr


def test_only_what_the_overlay_uses_is_demanded(cluster: tuple[ClusterApi, Path], tmp_path: Path):
    api, config = cluster
    deploy(api, IMAGES[:3])
    assert "FAIL  Kueue 0.16 or newer: no controller runs" in check(config).stdout
    own = tmp_path / "own"
    own.mkdir()
    (own / "kustomization.yaml").write_text("namespace: lidr\nresources: [some.yaml, more.yaml]\n")
    (own / "some.yaml").write_text(yaml.safe_dump(thing("v1", "ConfigMap", "lidr")))
    runtime = thing("trainer.kubeflow.org/v1alpha1", "TrainingRuntime", "lidr-training")
    (own / "more.yaml").write_text(yaml.safe_dump(runtime))
    (own / "cluster").mkdir()
    (own / "cluster" / "kustomization.yaml").write_text("resources: [namespace.yaml]\n")
    (own / "cluster" / "namespace.yaml").write_text(
        yaml.safe_dump(thing("v1", "Namespace", "lidr"))
    )
    done = check(config, str(own))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-     Kueue 0.16 or newer: no controller runs" in done.stdout
    deploy(api, IMAGES[:1])
    done = check(config, str(own))
    assert "FAIL  JobSet 0.10 or newer: no controller runs" in done.stdout, "Trainer stands on it"


def test_an_overlay_for_another_namespace_than_the_pods_is_refused(
    cluster: tuple[ClusterApi, Path],
):
    api, config = cluster
    deploy(api, IMAGES, multi_user=False)
    told = "Kubeflow Pipelines is for one user: pods run in its own namespace, kubeflow"
    assert f"FAIL  {told}; the overlay is for lidr" in check(config).stdout
    api.objects["/api/v1/namespaces/kubeflow"] = thing("v1", "Namespace", "kubeflow")
    done = check(config, "kind-single-user")
    assert f"ok    {told}\n" in done.stdout
    assert done.returncode == 0, "its pods need not be restricted ones"
    deploy(api, IMAGES, multi_user=True)
    done = check(config, "kind-single-user")
    assert "profiles' namespaces; the overlay is for kubeflow" in done.stdout
    assert done.returncode == 1


def test_an_overlay_that_is_not_there_is_said(tmp_path: Path):
    done = check(tmp_path / "config", "kindd")
    assert done.returncode == 2
    assert "no overlay 'kindd'; there are aks, eks, gke, kind, kind-single-user" in done.stderr
