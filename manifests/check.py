#!/usr/bin/env python3
"""Tell whether a cluster has what these manifests stand on: `python3 manifests/check.py`.

Needs kubectl and nothing else, reads only, and asks the cluster of the current context. Exit
status 0: all that is required is there; 1: something is missing or too old; 2: the cluster cannot
be asked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipelines.checks.platform import (
    KUBERNETES,
    PARTS,
    Part,
    running_version,
    shown,
    version_of,
)

SECRETS = ("lidr-object-store", "lidr-hub", "lidr-mlflow", "lidr-mlflow-server")


class Unreachable(Exception):
    """The cluster cannot be asked."""


def kubectl(*arguments: str) -> Any:
    """Return kubectl's answer as JSON, or None where the object or kind does not exist."""
    command = ["kubectl", *arguments, "--output=json", "--request-timeout=30s"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Unreachable("kubectl is not installed") from error
    if done.returncode == 0:
        return json.loads(done.stdout)
    if "NotFound" in done.stderr or "doesn't have a resource type" in done.stderr:
        return None
    raise Unreachable(done.stderr.strip() or f"kubectl ended with {done.returncode}")


@dataclass(frozen=True)
class Finding:
    """One line of the report; `bad` ones fail the check, `level` is ok, FAIL or `-` (not there)."""

    level: str
    text: str

    @property
    def bad(self) -> bool:
        """True for what must be mended."""
        return self.level == "FAIL"


def check_kubernetes() -> Finding:
    """Compare the API server's version."""
    found = version_of(kubectl("version")["serverVersion"]["gitVersion"])
    text = f"Kubernetes {shown(found)} ({shown(KUBERNETES)} or newer)"
    return Finding("ok" if found[:2] >= KUBERNETES else "FAIL", text)


def check_part(part: Part, images: list[str]) -> Iterator[Finding]:
    """Compare a controller's version and its CRDs' versions."""
    running, found = running_version(part, images)
    absent = "FAIL" if part.required else "-"
    wanted = f"{part.name} {shown(part.least)} or newer"
    if not running:
        yield Finding(absent, f"{wanted}: no controller runs")
        return
    if not found:
        yield Finding("-", f"{wanted}: runs as {running}, whose tag tells no version")
    else:
        yield Finding("ok" if found >= part.least else "FAIL", f"{wanted}: {shown(found)} runs")
    for name, version in part.crds.items():
        crd = kubectl("get", "customresourcedefinition", name)
        served = [
            each["name"]
            for each in (crd or {"spec": {"versions": []}})["spec"]["versions"]
            if each["served"]
        ]
        if version not in served:
            yield Finding(
                "FAIL", f"{name}: {version} is not served ({', '.join(served) or 'no CRD'})"
            )


def check_namespace(namespace: str) -> Iterator[Finding]:
    """Look for what `manifests/overlays/*/cluster` and a person have put there."""
    found = kubectl("get", "namespace", namespace)
    if found is None:
        yield Finding("FAIL", f"namespace {namespace}: apply manifests/overlays/NAME/cluster first")
        return
    level = found["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce")
    yield Finding(
        "ok" if level == "restricted" else "FAIL", f"namespace {namespace} admits {level} pods"
    )
    for secret in SECRETS:
        there = kubectl("get", "secret", secret, f"--namespace={namespace}") is not None
        yield Finding(
            "ok" if there else "-", f"Secret {secret}{'' if there else ': not there yet'}"
        )


def findings(namespace: str) -> Iterator[Finding]:
    """Yield everything that can be told about the cluster."""
    yield check_kubernetes()
    deployments = kubectl("get", "deployments", "--all-namespaces")["items"]
    images = [
        container["image"]
        for item in deployments
        for container in item["spec"]["template"]["spec"]["containers"]
    ]
    for part in PARTS:
        yield from check_part(part, images)
    yield from check_namespace(namespace)


def main() -> int:
    """Print the report; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--namespace", default="lidr", help="default: lidr")
    options = parser.parse_args()
    bad = 0
    try:
        for finding in findings(options.namespace):
            print(f"{finding.level:4}  {finding.text}", flush=True)
            bad += finding.bad
    except Unreachable as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if bad:
        print(f"\n{bad} of these must be mended: manifests/README.md says how.", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
