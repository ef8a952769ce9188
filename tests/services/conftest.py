"""Real servers for tests, started once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from lidr.components.shared.config.recipe import Recipe
from lidr.pipelines.cli.inputs import read_recipe
from tests.json_server import serving
from tests.kfp_api import serve_kubeflow
from tests.kubernetes_api import serve, write_kubeconfig
from tests.moto_server import CREDENTIALS, moto_server
from tests.services.checked import Checked, Services
from tests.services.kubeflow import TOKEN, Cluster, compile_once
from tests.services.stack import Stack, postgres_binaries
from tests.services.workflows import RUN

PROFILES = Path(__file__).resolve().parents[2] / "pipelines" / "profiles"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a moto server in a process of its own."""
    with moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, request) -> Iterator[str]:
    """An empty bucket, with the environment that leads to it."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    name = f"bucket-{abs(hash(request.node.nodeid)):x}"
    boto3.client("s3").create_bucket(Bucket=name)
    yield name


@pytest.fixture
def cluster(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cluster]:
    """A Kubeflow that wants a token, a Kubernetes API, a store, and a profile that leads there."""
    monkeypatch.setenv("LIDR_KFP_TOKEN", TOKEN)
    monkeypatch.setattr("lidr.pipelines.cluster.submit.SETTLING_SECONDS", 0.0)
    monkeypatch.setattr("lidr.pipelines.cluster.recurring.SETTLING_SECONDS", 0.0)
    monkeypatch.setattr("lidr.pipelines.compiled.compile_loop", compile_once)
    with serve_kubeflow() as kubeflow, serve() as kubernetes:
        kubeflow.token = TOKEN
        path = write_kubeconfig(kubernetes, tmp_path / "kubeconfig")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
        file = tmp_path / "profile.yaml"
        file.write_text((PROFILES / "cluster.yaml").read_text())
        made = Cluster(kubeflow, kubernetes, file, monkeypatch, capsys)
        made.configure(kubeflow={"host": kubeflow.url}, store=f"s3://{bucket}/store")
        yield made


@pytest.fixture
def bare(cluster: Cluster, bucket: str, tmp_path: Path, monkeypatch) -> Iterator[Checked]:
    """A cluster and a profile with everything in its place, and an empty bucket."""
    services = Services()
    with serving(services.answer) as services.url:
        for name, value in {
            "MLFLOW_TRACKING_USERNAME": "pipeline",
            "MLFLOW_TRACKING_PASSWORD": "hush-hush",
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
            "LIDR_CACHE": str(tmp_path / "cache"),
            "DOCKER_CONFIG": str(tmp_path / "docker"),
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        made = Checked(cluster, services, bucket, tmp_path / "recipe.yaml")
        made.fill()
        yield made
        for proxy in made.proxies:
            proxy.close()


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return read_recipe("tiny_world", None, ["generation.engine=vllm"])  # what its GPUs make of auto


@pytest.fixture
def submitted(cluster: Cluster) -> str:
    """The id of a run that is under way."""
    run_id: str = cluster.json("submit", "tiny_world", "--run", RUN)["run_id"]
    cluster.kubeflow.run.state = "RUNNING"
    return run_id


@pytest.fixture(scope="session")
def running_stack(s3_server: str) -> Iterator[Stack]:
    """PostgreSQL, S3 and MLflow, started once; tests take `stack`."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed: no /usr/lib/postgresql/*/bin/initdb")
    stack = Stack(binaries, s3_server)
    yield stack
    stack.close()


@pytest.fixture
def stack(running_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """MLflow as a team runs it, every part up, and the environment that leads to it."""
    running_stack.start()
    for name, value in running_stack.environment.items():
        monkeypatch.setenv(name, value)
    yield running_stack
