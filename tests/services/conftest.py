"""Real servers for tests, started once."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from tests.kfp_api import serve_kubeflow
from tests.kubernetes_api import serve, write_kubeconfig
from tests.services.kubeflow import TOKEN, Cluster, compile_once

PROFILES = Path(__file__).resolve().parents[2] / "pipelines" / "profiles"

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a moto server in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(endpoint, server)
        yield endpoint
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request) -> Iterator[str]:
    """An empty bucket, with the environment that leads to it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    name = f"bucket-{abs(hash(request.node.nodeid)):x}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield name


def _wait_for(endpoint: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the S3 server ended"
        try:
            with urllib.request.urlopen(f"{endpoint}/moto-api/", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the S3 server did not start within a minute")


@pytest.fixture
def cluster(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cluster]:
    """A Kubeflow that wants a token, a Kubernetes API, a store, and a profile that leads there."""
    monkeypatch.setenv("LIDR_KFP_TOKEN", TOKEN)
    monkeypatch.setattr("pipelines.cluster.submit.SETTLING_SECONDS", 0.0)
    monkeypatch.setattr("pipelines.cluster.recurring.SETTLING_SECONDS", 0.0)
    monkeypatch.setattr("pipelines.compiled.compile_loop", compile_once)
    with serve_kubeflow() as kubeflow, serve() as kubernetes:
        kubeflow.token = TOKEN
        path = write_kubeconfig(kubernetes, tmp_path / "kubeconfig")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        file = tmp_path / "profile.yaml"
        file.write_text((PROFILES / "cluster.yaml").read_text())
        made = Cluster(kubeflow, kubernetes, file, monkeypatch, capsys)
        made.configure(kubeflow={"host": kubeflow.url}, store=f"s3://{bucket}/store")
        yield made
