"""`make kind` with the real kubectl against an API server of the tests, and scripts for engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.build import NAMES, version
from tests.manifests.rendering import ROOT, needs_kubectl
from tests.manifests.test_check import ClusterApi, cluster, deploy, thing  # noqa: F401

pytestmark = needs_kubectl

KUBECTL = """#!/bin/bash
# what changes the cluster is written down, what reads it is the real one's
case "$1" in
  apply) echo "$@" >> "$LOG"; exit 0 ;;
  rollout) echo "$@" >> "$LOG"; case "$STALL" in "") exit 0 ;; *) exec sleep 60 ;; esac ;;
  logs) echo "mkdir: cannot create directory '/data': Permission denied"; exit 0 ;;
  create) echo "$@" >> "$LOG"; cat >> "$SECRETS"; echo >> "$SECRETS"; exit 0 ;;
esac
exec {kubectl} "$@"
"""
TOOL = """#!/bin/bash
echo "$(basename "$0") $@" >> "$LOG"
case "$1 $2" in
  "--version "*) echo "Docker version 20.10.24" ;;
  "save "*) echo archive ;;
  "image inspect") echo 1 ;;
esac
[ "$1" = create ] && echo container
[ "$1" = cp ] && touch "$3"
[ "$1" = import ] && cat > "$LOG.imported"
exit 0
"""


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment whose docker, ctr, kind and changing kubectl calls are written down."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = subprocess.run(["which", "kubectl"], capture_output=True, text=True).stdout.strip()
    scripts = {"kubectl": KUBECTL.format(kubectl=real)} | dict.fromkeys(("docker", "ctr"), TOOL)
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    log, made = tmp_path / "log", tmp_path / "secrets"
    made.touch()
    path = f"{folder}:{os.environ['PATH']}"
    yield {**os.environ, "PATH": path, "LOG": str(log), "SECRETS": str(made)}


def make(tools: dict[str, str], config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    given = ["--engine", "docker", "--sboms", str(config.parent), *words]
    return subprocess.run(
        [sys.executable, str(ROOT / "kind.py"), *given],
        capture_output=True,
        text=True,
        env={**tools, "KUBECONFIG": str(config), "HOME": str(config.parent)},
    )


@pytest.fixture
def single_user(cluster: tuple[ClusterApi, Path]) -> tuple[ClusterApi, Path]:  # noqa: F811
    api, config = cluster
    images = [
        item["spec"]["template"]["spec"]["containers"][0]["image"]
        for item in api.objects["/apis/apps/v1/deployments"]["items"]
    ]
    deploy(api, images, multi_user=False)
    empty = {"apiVersion": "v1", "kind": "SecretList", "items": []}
    api.objects["/api/v1/namespaces/kubeflow/secrets"] = empty
    api.objects["/api/v1/namespaces/kubeflow/pods"] = {**empty, "kind": "PodList"}
    return api, config


def test_one_command_builds_loads_and_applies(single_user, tools: dict[str, str]):
    _, config = single_user
    done = make(tools, config, "--load", "ctr import -")
    assert done.returncode == 0, done.stderr
    lines = Path(tools["LOG"]).read_text().splitlines()
    tags = [f"lidr/{name}:{version()}" for name in NAMES]
    assert [line for line in lines if line.startswith("docker build")] and all(
        any(f"--tag {tag}" in line for line in lines) for tag in tags
    )
    rest = lines[lines.index(f"docker save {' '.join(tags)}") :]
    overlay = f"{ROOT}/overlays/kind-single-user"
    applied = [line for line in rest if line.startswith("apply")]
    assert applied == [f"apply -k {overlay}/cluster", f"apply -k {overlay}"]
    assert sum(line.startswith("rollout status") for line in rest) == 3
    assert Path(tools["LOG"] + ".imported").read_text() == "archive\n"
    assert "lidr check tiny_world --profile kind" in done.stdout


def test_secrets_are_random_and_on_no_command_line(single_user, tools: dict[str, str]):
    _, config = single_user
    done = make(tools, config, "--built", "--load", "none")
    assert done.returncode == 0, done.stderr
    assert "docker" not in Path(tools["LOG"]).read_text(), "it is built, and in a registry"
    made = [json.loads(line) for line in Path(tools["SECRETS"]).read_text().splitlines()]
    values = {each["metadata"]["name"]: each["stringData"] for each in made}
    readme = (ROOT / "README.md").read_text("utf-8")
    for name, keys in values.items():
        row = next(line for line in readme.splitlines() if line.startswith(f"| `{name}` |"))
        assert all(f"`{key}`" in row for key in keys)
    password = values["lidr-mlflow"]["MLFLOW_TRACKING_PASSWORD"]
    assert password == values["lidr-mlflow-server"]["MLFLOW_AUTH_ADMIN_PASSWORD"]
    assert len(password) == 48 and password not in done.stdout + Path(tools["LOG"]).read_text()
    assert {each["metadata"]["namespace"] for each in made} == {"kubeflow"}


def test_a_server_that_does_not_start_is_told_with_its_last_line(single_user, tools):
    api, config = single_user
    pod = thing("v1", "Pod", "lidr-object-store-0")
    pod["metadata"]["namespace"] = "kubeflow"
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    status = {"name": "seaweedfs", "ready": False, "restartCount": 3, "state": waiting}
    pod["status"] = {"containerStatuses": [status]}
    pods = {"apiVersion": "v1", "kind": "PodList", "items": [pod]}
    api.objects["/api/v1/namespaces/kubeflow/pods"] = pods
    end = threading.Event()

    def crash() -> None:
        while not end.wait(0.5):
            status["restartCount"] += 1

    threading.Thread(target=crash, daemon=True).start()
    code = (
        "import sys; from manifests import kind; kind.REPORT_SECONDS = 0.2; kind.main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--built", "--load", "none"],
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
        env={**tools, "KUBECONFIG": str(config), "HOME": str(config.parent), "STALL": "1"},
    )
    end.set()
    told = (
        "pod lidr-object-store-0: seaweedfs: CrashLoopBackOff, mkdir: cannot create directory "
        "'/data': Permission denied"
    )
    assert done.returncode == 2
    assert f"statefulset/lidr-object-store waits: {told}" in done.stdout
    assert done.stderr.splitlines() == [
        f"kind: error: statefulset/lidr-object-store does not start: {told}. The log of its pod "
        "says why."
    ]


def test_secrets_that_are_there_stay(single_user, tools: dict[str, str]):
    api, config = single_user
    there = ("lidr-object-store", "lidr-mlflow-server", "lidr-mlflow", "lidr-postgres")
    items = [thing("v1", "Secret", name) for name in there]
    api.objects["/api/v1/namespaces/kubeflow/secrets"]["items"] = items
    assert make(tools, config, "--built", "--load", "none").returncode == 0
    assert Path(tools["SECRETS"]).read_text() == ""


def test_a_cluster_that_lacks_something_is_told_before_anything_is_built(
    single_user, tools: dict[str, str]
):
    api, config = single_user
    deploy(api, ["ghcr.io/kubeflow/kfp-api-server:2.17.0"], multi_user=False)
    done = make(tools, config, "--load", "ctr import -")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "Kueue 0.16 or newer: no controller runs" in line and "README.md" in line
    assert not Path(tools["LOG"]).exists()


def test_without_kind_another_way_to_load_is_named(single_user, tools: dict[str, str]):
    _, config = single_user
    done = make(tools, config, "--built")
    assert done.returncode == 2
    assert "no kind here to load images with. Install it, or name with LOAD=" in done.stderr
