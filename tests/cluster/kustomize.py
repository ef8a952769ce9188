"""Components of manifests/ that a part applies by itself, with settings of its own."""

from __future__ import annotations

import os
from typing import Any

import yaml

from tests.cluster.cluster import ROOT, Cluster


def apply_component(cluster: Cluster, name: str, *patches: tuple[str, Any]) -> None:
    """Apply a component in lidr's namespace; it is removed at the end.

    Args:
        cluster: to apply it to.
        name: of its folder below manifests/components.
        patches: the kind (and `/name`) of what each changes, and the patch.
    """
    folder = cluster.options.folder / "components" / name
    folder.mkdir(parents=True, exist_ok=True)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": cluster.namespace,
        "components": [os.path.relpath(ROOT / "manifests" / "components" / name, folder.resolve())],
        "patches": [
            {"target": _target(target), "patch": yaml.safe_dump(patch)} for target, patch in patches
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
    cluster.kubectl("apply", "-k", str(folder)).require()
    cluster.afterwards(lambda: cluster.delete("-k", str(folder)))


def _target(words: str) -> dict[str, str]:
    kind, _, name = words.partition("/")
    return {"kind": kind, **({"name": name} if name else {})}


def config_map(name: str, data: dict[str, str]) -> dict[str, Any]:
    """Return a patch that sets keys of a ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": data,
    }


def profile_inside(cluster: Cluster, **keys: Any) -> str:
    """Return the test's profile as a pod of the cluster reads it."""
    kubeflow: dict[str, Any] = {"experiment": cluster.prefix, **keys.pop("kubeflow", {})}
    if cluster.profile.kubeflow.namespace:
        kubeflow["namespace"] = cluster.profile.kubeflow.namespace
    return yaml.safe_dump(
        {
            "name": "inside",
            "runner": "kubeflow",
            "namespace": cluster.namespace,
            "store": cluster.profile.store,
            "kubeflow": kubeflow,
            **keys,
        }
    )
