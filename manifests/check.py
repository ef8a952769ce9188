#!/usr/bin/env python3
"""Check that a cluster has what an overlay needs: `python3 manifests/check.py kind`.

Needs only kubectl, reads only, and uses the current context. Exit status 0: everything required is
there; 1: something is missing or too old; 2: the cluster cannot be reached.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lidr.pipelines.cluster.platform import (
    KUBEFLOW,
    KUBERNETES,
    PARTS,
    PlatformPart,
    images_of,
    running_version,
    unavailable_deployment,
    version_of,
    version_text,
)

OVERLAYS = Path(__file__).resolve().parent / "overlays"
SECRETS = ("lidr-object-store", "lidr-hub", "lidr-mlflow", "lidr-mlflow-server")
_PSA = "pod-security.kubernetes.io/enforce"


class Unreachable(Exception):
    """The cluster cannot be reached."""


def kubectl(*arguments: str) -> Any:
    """Return kubectl's JSON output, or None if the object or kind does not exist."""
    try:
        output = _run("kubectl", *arguments, "--output=json", "--request-timeout=30s")
    except Unreachable as error:
        if "NotFound" in str(error) or "doesn't have a resource type" in str(error):
            return None
        raise
    return json.loads(output)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unreachable("kubectl is not installed") from error
    if done.returncode:
        raise Unreachable(done.stderr.strip() or f"kubectl exited with {done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class ReportLine:
    """One line of the report; its level is ok, FAIL, or `-` (not there, but not required)."""

    level: str
    text: str

    @property
    def bad(self) -> bool:
        """Whether it fails the check."""
        return self.level == "FAIL"


@dataclass(frozen=True)
class Overlay:
    """A rendered overlay.

    Attributes:
        namespace: of its objects.
        shared: whether that namespace is Kubeflow's own, not created by the overlay.
        groups: API groups of its objects.
    """

    namespace: str
    shared: bool
    groups: frozenset[str]

    @classmethod
    def read(cls, name: str) -> Overlay:
        """Render an overlay, by its name below overlays/ or by its path."""
        folder = next(each for each in (OVERLAYS / name, Path(name)) if each.is_dir())
        rendered = [kubectl_kustomize(part) for part in (folder, folder / "cluster")]
        text = "\n---\n".join(rendered)
        (namespace,) = set(re.findall(r"^  namespace: (\S+)$", rendered[0], re.MULTILINE))
        versions = re.findall(r"^apiVersion: (\S+)/\S+$", text, re.MULTILINE)
        return cls(namespace, "\nkind: Namespace\n" not in rendered[1], frozenset(versions))

    def needs(self, part: PlatformPart) -> bool:
        """Return whether the overlay's objects need a part, directly or through another part."""
        if part.needed_by:
            return any(self.needs(each) for each in PARTS if each.name == part.needed_by)
        return part is KUBEFLOW or bool(part.groups & self.groups)


def kubectl_kustomize(folder: Path) -> str:
    """Return a rendered kustomization; "" if there is none."""
    if not (folder / "kustomization.yaml").exists():
        return ""
    return _run("kubectl", "kustomize", str(folder))


def check_kubernetes() -> ReportLine:
    """Compare the API server's version."""
    found = version_of(kubectl("version")["serverVersion"]["gitVersion"])
    text = f"Kubernetes {version_text(found)} ({version_text(KUBERNETES)} or newer)"
    return ReportLine("ok" if found[:2] >= KUBERNETES else "FAIL", text)


def check_part(part: PlatformPart, required: bool, deployments: list[Any]) -> Iterator[ReportLine]:
    """Compare a controller's version and its CRDs' versions."""
    images = [image for each in deployments for image in images_of(each)]
    running, found = running_version(part, images)
    wanted = f"{part.name} {version_text(part.minimum)} or newer"
    if not running:
        yield ReportLine("FAIL" if required else "-", f"{wanted}: no controller runs")
        return
    bad = "FAIL" if required else "-"
    if still := unavailable_deployment(part, deployments):
        yield ReportLine(bad, f"{wanted}: no pod of Deployment {still} is ready")
    if not found:
        yield ReportLine("-", f"{wanted}: runs as {running}, whose tag has no version")
    else:
        yield ReportLine(
            "ok" if found >= part.minimum else bad, f"{wanted}: {version_text(found)} runs"
        )
    for name, version in part.crds.items():
        crd = kubectl("get", "customresourcedefinition", name)
        served = [
            each["name"]
            for each in (crd or {"spec": {"versions": []}})["spec"]["versions"]
            if each["served"]
        ]
        if version not in served:
            text = f"{name}: {version} is not served ({', '.join(served) or 'no CRD'})"
            yield ReportLine(bad, text)


def check_namespace(overlay: Overlay) -> Iterator[ReportLine]:
    """Look at the namespace, and at the Secrets in it."""
    namespace = overlay.namespace
    found = kubectl("get", "namespace", namespace)
    level = ((found or {}).get("metadata", {}).get("labels") or {}).get(_PSA)
    if found is None:
        remedy = "install Kubeflow Pipelines" if overlay.shared else "apply the overlay's cluster/"
        yield ReportLine("FAIL", f"namespace {namespace} is not there: {remedy} first")
        return
    if not overlay.shared:
        admits = f"namespace {namespace} admits {level} pods"
        yield ReportLine("ok" if level == "restricted" else "FAIL", admits)
    for secret in SECRETS:
        there = kubectl("get", "secret", secret, f"--namespace={namespace}") is not None
        yield ReportLine(
            "ok" if there else "-", f"Secret {secret}{'' if there else ': not there yet'}"
        )


def check_place(overlay: Overlay, deployments: list[Any]) -> Iterator[ReportLine]:
    """Compare the overlay's namespace with the one in which Kubeflow Pipelines starts pods."""
    for item in _kubeflows(deployments):
        place = item["metadata"]["namespace"]
        if is_multi_user(place, item["spec"]["template"]["spec"]["containers"]):
            text = "Kubeflow Pipelines is for several users: pods run in their profiles' namespaces"
            wrong = place == overlay.namespace
        else:
            text = f"Kubeflow Pipelines is for one user: pods run in its own namespace, {place}"
            wrong = place != overlay.namespace
        level = "FAIL" if wrong else "ok"
        yield ReportLine(level, f"{text}{f'; the overlay is for {overlay.namespace}' * wrong}")


def is_multi_user(namespace: str, containers: list[Any]) -> bool:
    """Return whether a Kubeflow Pipelines is for several users, from its environment."""
    for container in containers:
        for each in container.get("env", []):
            if each["name"] == "MULTIUSER" and each.get("value", "").lower() == "true":
                return True
        for each in container.get("envFrom", []):
            name = each.get("configMapRef", {}).get("name")
            found = kubectl("get", "configmap", name, f"--namespace={namespace}") if name else None
            if (found or {}).get("data", {}).get("MULTIUSER", "").lower() == "true":
                return True
    return False


def findings(overlay: Overlay) -> Iterator[ReportLine]:
    """Yield all lines of the report."""
    yield from platform(overlay)
    yield from check_namespace(overlay)


def platform(overlay: Overlay) -> Iterator[ReportLine]:
    """Yield the lines on what must be there before lidr is applied."""
    yield check_kubernetes()
    deployments = _deployments()
    for part in PARTS:
        yield from check_part(part, overlay.needs(part), deployments)
    yield from check_place(overlay, deployments)


def _deployments() -> list[Any]:
    return list(kubectl("get", "deployments", "--all-namespaces")["items"])


def kubeflow_namespace() -> str:
    """Return the namespace of Kubeflow Pipelines; `kubeflow` if none runs."""
    return next((item["metadata"]["namespace"] for item in _kubeflows(_deployments())), "kubeflow")


def _kubeflows(deployments: list[Any]) -> Iterator[Any]:
    for item in deployments:
        containers = item["spec"]["template"]["spec"]["containers"]
        if any(re.search(KUBEFLOW.image, each["image"]) for each in containers):
            yield item


def main() -> int:
    """Print the report; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ", ".join(sorted(each.name for each in OVERLAYS.iterdir()))
    parser.add_argument("overlay", help=f"{known}, or the folder of one of your own")
    options = parser.parse_args()
    if not (OVERLAYS / options.overlay).is_dir() and not Path(options.overlay).is_dir():
        parser.error(f"no overlay {options.overlay!r}; there are {known}")
    bad = 0
    try:
        for finding in findings(Overlay.read(options.overlay)):
            print(f"{finding.level:4}  {finding.text}", flush=True)
            bad += finding.bad
    except Unreachable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if bad:
        print(f"\n{bad} of these must be fixed: manifests/README.md says how.", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
