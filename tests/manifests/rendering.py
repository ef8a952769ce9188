"""The overlays as `kubectl kustomize` renders them, each once a session."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.yaml_text import read_documents

ROOT = Path(__file__).resolve().parents[2] / "manifests"
OVERLAYS = ("kind", "kind-single-user", "gke", "eks", "aks", "openshift")
NAMESPACE = "lidr"
SHARED = "kind-single-user"
"""The overlay in the namespace of a Kubeflow Pipelines for a single user."""

Object = dict[str, Any]

needs_kubectl = pytest.mark.skipif(
    not shutil.which("kubectl"), reason="no kubectl to render the overlays with"
)


@cache
def rendered(folder: str) -> tuple[Object, ...]:
    """Return the objects of a kustomization below manifests/, e.g. overlays/kind."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / folder)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # kustomize warns of deprecated fields
    documents = read_documents(done.stdout)
    return tuple(each for each in documents if each)


@cache
def overlay(name: str) -> tuple[Object, ...]:
    """Return the objects of an overlay: the cluster-scoped half, the rest, and the champion."""
    parts = (f"overlays/{name}/cluster", f"overlays/{name}", f"overlays/{name}/champion")
    return tuple(item for part in parts for item in rendered(part))


def namespace_of(name: str) -> str:
    """Return the namespace that an overlay is for."""
    return "kubeflow" if name == SHARED else NAMESPACE


def named(objects: tuple[Object, ...], kind: str) -> dict[str, Object]:
    """Return the objects of a kind by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def title(item: Object) -> str:
    """Return `Kind/name`."""
    return f"{item['kind']}/{item['metadata']['name']}"


def pods(objects: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Yield `Kind/name` and the pod template of whatever makes pods.

    KServe's pods are put together as its controller does: the runtime's container with the
    predictor's own settings.
    """
    for item in objects:
        spec = item.get("spec", {})
        if item["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield title(item), spec["template"]
        elif item["kind"] == "CronJob":
            yield title(item), spec["jobTemplate"]["spec"]["template"]
        elif item["kind"] == "TrainingRuntime":
            for job in spec["template"]["spec"]["replicatedJobs"]:
                template = job["template"]["spec"]["template"]
                labels = {"jobset.sigs.k8s.io/jobset-name": "any"} | template["metadata"]["labels"]
                yield title(item), {"metadata": {"labels": labels}, "spec": template["spec"]}
        elif item["kind"] == "InferenceService":
            yield title(item), _predictor(objects, spec["predictor"])


def _predictor(objects: tuple[Object, ...], predictor: Object) -> Object:
    runtime = named(objects, "ServingRuntime")[predictor["model"]["runtime"]]["spec"]
    own = {key: value for key, value in predictor.items() if key not in ("model", "labels")}
    pod = {key: runtime[key] for key in ("containers", "volumes")} | own
    for replicas in ("minReplicas", "maxReplicas"):
        pod.pop(replicas)
    return {"metadata": {"labels": predictor["labels"]}, "spec": pod}


def containers(pod: Object) -> list[Object]:
    """Return all containers of a pod's spec."""
    return [*pod.get("initContainers", []), *pod["containers"]]
