"""Upgrade: from one tag of the images to another, by applying the overlay again."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import yaml

from tests.cluster.cluster import ROOT, Cluster, require
from tests.cluster.results import LeftOut
from tests.yaml_text import read_yaml

IMAGES = ("control", "generate", "train", "mlflow")


def upgrade(cluster: Cluster) -> str:
    """Apply the overlay with another tag, then as it was: every workload is ready both times."""
    if not cluster.options.tag:
        raise LeftOut("--tag names no second tag of the images")
    before = _versions()
    applied = _apply(cluster, cluster.options.tag)
    running = _images(cluster, applied)
    require(running, "no workload of the namespace runs an image of lidr")
    odd = [image for image in running if not image.endswith(f":{cluster.options.tag}")]
    require(not odd, f"after the upgrade {odd[0] if odd else ''} runs")
    require(_versions() == before, "MLflow's registered models are others than before")
    _apply(cluster, "")
    return f"to {cluster.options.tag} and back; {len(running)} workloads, {len(before)} models kept"


def _apply(cluster: Cluster, tag: str) -> set[str]:
    """Apply a copy of manifests/ whose overlay names another tag; "" is the overlay as it is.

    Returns:
        What was applied, as `deployment.apps/lidr-mlflow`.
    """
    applied: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="lidr-upgrade-") as name:
        folder = Path(name) / "manifests"
        shutil.copytree(ROOT / "manifests", folder)
        overlay = folder / "overlays" / cluster.options.overlay
        served = cluster.get("deployment", "lidr-champion", f"--namespace={cluster.namespace}")
        for each in (overlay, overlay / "champion") if served else (overlay,):
            if tag:
                _set_tag(each / "kustomization.yaml", tag)
            done = cluster.kubectl("apply", "-k", str(each), "--output=name").require()
            applied.update(done.out.split())
    for kind in ("deployment", "statefulset"):
        selector = "--selector=app.kubernetes.io/part-of=lidr"
        for each in cluster.items(kind, cluster.namespace, selector):
            cluster.wait_ready(kind, each["metadata"]["name"], cluster.namespace)
    return applied


def _set_tag(file: Path, tag: str) -> None:
    content = read_yaml(file.read_text())
    content["images"] = [{"name": f"lidr/{name}", "newTag": tag} for name in IMAGES]
    file.write_text(yaml.safe_dump(content))


def _images(cluster: Cluster, applied: set[str]) -> list[str]:
    """Return lidr's own images that the Deployments run which were applied."""
    return [
        container["image"]
        for each in cluster.items("deployment", cluster.namespace)
        for container in each["spec"]["template"]["spec"]["containers"]
        if "lidr/" in container["image"]
        and f"deployment.apps/{each['metadata']['name']}" in applied
    ]


def _versions() -> list[str]:
    from mlflow import MlflowClient

    return sorted(each.name for each in MlflowClient().search_registered_models())
