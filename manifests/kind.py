#!/usr/bin/env python3
"""Bring lidr onto a cluster without GPUs: `python3 manifests/kind.py`, what `make kind` calls.

Builds the images, loads them into the nodes, applies an overlay of manifests/ and waits until it
runs; missing Secrets are created with random values. Each step may be left out. Needs kubectl and
an engine that builds images. Kubeflow Pipelines and the overlay's other requirements must be
installed (manifests/README.md), which is checked first.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from images import build  # noqa: E402
from manifests import check  # noqa: E402

OVERLAY = "kind-single-user"

REPORT_SECONDS = 20.0
"""Seconds between reports of what is waited for."""

_MAX_CRASHES = 3
"""Restarts while waiting for a server, after which it is given up."""

_SERVERS = ("statefulset/lidr-object-store", "statefulset/lidr-postgres", "deployment/lidr-mlflow")
_NEXT = """
lidr runs in namespace {namespace}. From here, each in a terminal of its own or with &:
  kubectl -n {kubeflow} port-forward svc/ml-pipeline 8888
  kubectl -n {namespace} port-forward svc/lidr-object-store 8333
Then, with the store's key in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY:
  export LIDR_KFP_HOST=http://localhost:8888 LIDR_NAMESPACE={namespace}
  export AWS_ENDPOINT_URL=http://localhost:8333 AWS_REGION=us-east-1
  lidr check tiny_world --profile kind
  lidr submit tiny_world --profile kind --run first --wait"""


def main(arguments: list[str]) -> None:
    """Run all steps, quick checks first."""
    options, build_arguments = _parse(arguments)
    try:
        overlay = check.Overlay.read(options.overlay)
        place = _require_platform(overlay)
    except check.Unreachable as error:
        _fail(str(error), "Start a cluster (kind create cluster), or set KUBECONFIG.")
    names = options.images.split()
    if not options.built:
        build.main([*names, *build_arguments])
    _load(names, options.load, options.cluster, build_arguments)
    folder = check.OVERLAYS / options.overlay
    _kubectl("apply", "-k", str(folder / "cluster"))
    _make_secrets(overlay.namespace)
    _kubectl("apply", "-k", str(folder))
    for server in _SERVERS:
        _wait(server, overlay.namespace)
    print(_NEXT.format(namespace=overlay.namespace, kubeflow=place))


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--overlay", default=OVERLAY, help=f"of manifests/overlays; {OVERLAY}")
    parser.add_argument("--images", default=" ".join(build.NAMES), help="names; default: all")
    parser.add_argument("--built", action="store_true", help="the images are built already")
    parser.add_argument(
        "--load",
        default="",
        help="command that takes an archive of images on standard input, e.g. `ctr -n k8s.io "
        "images import -` on the node itself; `none`; default: kind load",
    )
    parser.add_argument("--cluster", default="kind", help="kind's name of the cluster; kind")
    return parser.parse_known_args(arguments)


def _engine(build_arguments: list[str]) -> str:
    """Return the engine that `images/build.py` uses with these arguments."""
    if "--engine" not in build_arguments:
        return build.engine_of("")
    return build.engine_of(build_arguments[build_arguments.index("--engine") + 1])


def _require_platform(overlay: check.Overlay) -> str:
    """Exit if the cluster lacks something; return the namespace of Kubeflow Pipelines."""
    bad = [finding.text for finding in check.platform(overlay) if finding.bad]
    if bad:
        _fail("; ".join(bad), "manifests/README.md says how it is installed.")
    return check.kubeflow_namespace()


def _load(names: list[str], command: str, cluster: str, build_arguments: list[str]) -> None:
    """Load images into the nodes, with kind or a command that reads an archive."""
    if command == "none":
        return
    if not command and not shutil.which("kind"):
        _fail(
            "no kind here to load images with",
            "Install it, or name with LOAD= what takes an archive of images on the node "
            "(LOAD='ctr -n k8s.io images import -'), or LOAD=none with images in a registry.",
        )
    tags = [f"lidr/{name}:{build.version()}" for name in names]
    print(f"loading {', '.join(tags)} into the nodes", flush=True)
    engine = _engine(build_arguments)
    if command and Path(engine).name != "buildah":
        status = build.save(engine, tags, shlex.split(command))
    elif Path(engine).name == "docker":
        status = subprocess.call(["kind", "load", "docker-image", *tags, "--name", cluster])
    else:
        status = max(_load_file(engine, tag, command, cluster) for tag in tags)
    if status:
        _fail("the images could not be loaded into the nodes", "See above.")


def _load_file(engine: str, tag: str, command: str, cluster: str) -> int:
    with tempfile.TemporaryDirectory(prefix="lidr-images-") as folder:
        archive = Path(folder) / "image.tar"
        build.save_file(engine, tag, archive)
        if not command:
            return subprocess.call(["kind", "load", "image-archive", archive, "--name", cluster])
        with archive.open("rb") as source:
            return subprocess.call(shlex.split(command), stdin=source)


def _make_secrets(namespace: str) -> None:
    """Create the missing Secrets of manifests/README.md with random values."""
    admin = secrets.token_hex(24)
    wanted = {
        "lidr-object-store": {
            "AWS_ACCESS_KEY_ID": secrets.token_hex(12),
            "AWS_SECRET_ACCESS_KEY": secrets.token_hex(24),
        },
        "lidr-mlflow-server": {
            "MLFLOW_AUTH_ADMIN_PASSWORD": admin,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(24),
        },
        "lidr-mlflow": {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": admin},
        "lidr-postgres": {"username": "mlflow", "password": secrets.token_hex(24)},
    }
    there = {each["metadata"]["name"] for each in _items("secrets", namespace)}
    if "lidr-mlflow-server" in there:  # only that Secret has its password
        wanted.pop("lidr-mlflow")
    for name, values in wanted.items():
        if name not in there:
            _kubectl("create", "-f", "-", given=_secret(name, namespace, values))


def _secret(name: str, namespace: str, values: dict[str, str]) -> str:
    metadata = {"name": name, "namespace": namespace}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}
    )


def _items(kind: str, namespace: str) -> list[dict[str, Any]]:
    return list(check.kubectl("get", kind, f"--namespace={namespace}")["items"])


def _kubectl(*arguments: str, given: str = "") -> None:
    print(f"$ kubectl {shlex.join(arguments)}", flush=True)
    done = subprocess.run(["kubectl", *arguments], input=given or None, text=True)
    if done.returncode:
        _fail(f"kubectl {arguments[0]} exited with {done.returncode}", "Its output is above.")


def _wait(server: str, namespace: str) -> None:
    """Wait until a server runs; report what its pods wait for, and exit if they cannot start."""
    command = ["kubectl", "rollout", "status", server, f"-n={namespace}", "--timeout=10m"]
    print(f"$ {shlex.join(command)}", flush=True)
    waiting, reported, before = subprocess.Popen(command), "", _crashes(server, namespace)
    while True:
        try:
            if code := waiting.wait(REPORT_SECONDS):
                _fail(f"kubectl rollout exited with {code}", reported or "Its output is above.")
            return
        except subprocess.TimeoutExpired:
            faults = "; ".join(filter(None, map(_faults, _pods(server, namespace))))
        if faults and faults != reported:
            print(f"{server} waits: {faults}", flush=True)
        reported = faults
        # Crashes before the wait do not count: it may have waited for another server.
        if _crashes(server, namespace) - before >= _MAX_CRASHES:
            waiting.kill()
            _fail(f"{server} does not start: {faults}", "The log of its pod says why.")


def _pods(server: str, namespace: str) -> list[dict[str, Any]]:
    prefix = f"{server.partition('/')[2]}-"
    return [pod for pod in _items("pods", namespace) if pod["metadata"]["name"].startswith(prefix)]


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _crashes(server: str, namespace: str) -> int:
    """Return the restarts of the containers of a server's pods that do not run now."""
    return sum(
        int(each.get("restartCount", 0))
        for pod in _pods(server, namespace)
        for each in _containers(pod)
        if not each.get("ready") and "running" not in each.get("state", {})
    )


def _faults(pod: dict[str, Any]) -> str:
    """Return why a pod does not run, with the last log lines of restarted containers, or ""."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    found = [
        f"{each.get('reason')}: {each.get('message', '')}"
        for each in pod.get("status", {}).get("conditions", [])
        if each["type"] == "PodScheduled" and each["status"] == "False"
    ]
    for each in _containers(pod):
        waiting = each.get("state", {}).get("waiting")
        if waiting and waiting.get("reason") != "PodInitializing":
            found.append(f"{each['name']}: {waiting.get('reason')}")
            if each.get("restartCount"):
                words = ("logs", name, f"--container={each['name']}", f"--namespace={namespace}")
                log = subprocess.run(
                    ["kubectl", *words, "--previous", "--tail=1"], capture_output=True, text=True
                )
                found.append(" ".join(log.stdout.split()))
    return f"pod {name}: {', '.join(filter(None, found))}" if found else ""


def _fail(message: str, remedy: str) -> NoReturn:
    print(f"kind: error: {message}. {remedy}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
