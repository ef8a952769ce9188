"""The follower against a real MLflow registry and an HTTP API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lidr.components.serve.__main__ import main
from lidr.components.shared.models.outside import ADAPTER_TAG
from lidr.components.shared.tracking import mlflow_client
from tests.json_server import serving
from tests.kubernetes_api import NAMESPACE, SERVERS, KubernetesApi, serve, write_kubeconfig
from tests.yaml_text import read_documents

COMPONENTS = Path(__file__).resolve().parents[3] / "manifests" / "components"
MODEL = "tiny-world"
KUBECONFIG = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"
DEPLOYMENT = f"{SERVERS[0]}lidr-champion"
SERVICE = f"{SERVERS[1]}lidr-champion"


def manifest(component: str, kind: str) -> dict[str, Any]:
    files = (COMPONENTS / component).glob("*.yaml")
    documents = [each for file in files for each in read_documents(file.read_text("utf-8"))]
    return next(each for each in documents if each.get("kind") == kind)


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[str]:
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        client = mlflow_client("")
        client.create_registered_model(MODEL)
        for number, tags in enumerate(({}, {}, {ADAPTER_TAG: "s3://lidr/store/3/adapter"}), 1):
            client.create_model_version(
                MODEL, f"s3://lidr/store/{number}/model", tags=tags, await_creation_for=0
            )
    yield uri


@pytest.fixture
def registry(database: str, monkeypatch) -> MlflowClient:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    client = mlflow_client("")
    client.set_registered_model_alias(MODEL, "champion", "1")
    return client


@pytest.fixture
def api(tmp_path: Path, monkeypatch) -> Iterator[KubernetesApi]:
    with serve() as server:
        server.servers[DEPLOYMENT] = manifest("champion", "Deployment")
        server.servers[SERVICE] = manifest("champion-kserve", "InferenceService")
        monkeypatch.setattr(KUBECONFIG, str(write_kubeconfig(server, tmp_path / "config")))
        yield server


def test_without_a_cluster_it_says_so(registry, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(KUBECONFIG, str(tmp_path / "none"))
    assert run() == 2
    assert "no access to a Kubernetes cluster" in capsys.readouterr().err


def test_a_kubeconfig_that_is_none_is_named(registry, tmp_path: Path, monkeypatch, capsys):
    broken = tmp_path / "config"
    broken.write_text("a: [")
    monkeypatch.setattr(KUBECONFIG, str(broken))
    assert run() == 2
    assert f"{broken}: is no kubeconfig" in capsys.readouterr().err


def run(*arguments: str, server: str = "--deployment=lidr-champion") -> int:
    return main(["follow", MODEL, server, f"--namespace={NAMESPACE}", *arguments])


@pytest.mark.parametrize(
    "server", ["--deployment=lidr-champion", "--inference-service=lidr-champion"]
)
def test_before_the_first_promotion_there_is_nothing_to_do(registry, api, server: str, capsys):
    """Applied too early, it must not fail every two minutes."""
    registry.delete_registered_model_alias(MODEL, "champion")
    assert run(server=server) == 0
    assert "nothing to serve yet: " in capsys.readouterr().out
    assert not [path for method, path in api.requests if method == "PATCH"]


def test_a_server_that_is_not_mlflow_is_an_error(api: KubernetesApi, monkeypatch, capsys):
    with serving(lambda request, body: (404, "<html>404</html>")) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert run() == 2
    assert "does not answer as MLflow does" in capsys.readouterr().err


def test_an_alias_that_is_gone_is_an_error(registry, api: KubernetesApi, capsys):
    assert run() == 0
    registry.delete_registered_model_alias(MODEL, "champion")
    assert run() == 2
    said = capsys.readouterr().err
    assert f"no version of '{MODEL}' has the alias 'champion'" in said
    assert f"`lidr promote {MODEL} VERSION --to champion`" in said and "model.source" not in said


def test_options_of_vllm_follow_the_folder(tmp_path: Path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--max-model-len", "4096", str(tmp_path)])
    assert ended.value.code == 2
    assert "no folder '4096': FOLDER first, then vLLM's arguments" in capsys.readouterr().err


def annotations(api: KubernetesApi) -> dict[str, str]:
    found = api.servers[DEPLOYMENT]["spec"]["template"]["metadata"]["annotations"]
    return {key: value for key, value in found.items() if key.startswith("lidr.dev/")}


def test_a_deployment_follows_the_alias(registry: MlflowClient, api: KubernetesApi, capsys):
    before = manifest("champion", "Deployment")
    assert run() == 0
    assert annotations(api) == {
        "lidr.dev/champion-source": "s3://lidr/store/1/model",
        "lidr.dev/champion-adapter": "",
    }
    registry.set_registered_model_alias(MODEL, "champion", "3")
    assert run() == 0
    assert annotations(api) == {
        "lidr.dev/champion-source": "s3://lidr/store/3/model",
        "lidr.dev/champion-adapter": "s3://lidr/store/3/adapter",
    }
    assert "is set to serve s3://lidr/store/3/adapter" in capsys.readouterr().out
    api.servers[DEPLOYMENT]["spec"]["template"]["metadata"]["annotations"] = before["spec"][
        "template"
    ]["metadata"]["annotations"]
    assert api.servers[DEPLOYMENT] == before, "it changed more than the two annotations"


def test_what_is_served_already_is_not_written_again(registry, api: KubernetesApi, capsys):
    run()
    capsys.readouterr()
    assert run() == 0
    assert capsys.readouterr().out == "lidr-champion is already set to serve the champion\n"
    assert [method for method, _ in api.requests] == ["GET", "PATCH", "GET"]


@pytest.mark.parametrize(
    ("server", "status", "note"),
    [
        (DEPLOYMENT, {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, ""),
        (
            DEPLOYMENT,  # the pod that is available is the old one
            {"replicas": 2, "updatedReplicas": 1, "availableReplicas": 1},
            "; its new pods are not ready",
        ),
        (
            DEPLOYMENT,
            {
                "replicas": 1,
                "updatedReplicas": 1,
                "conditions": [
                    {"type": "Available", "status": "False", "message": "too few"},
                    {"type": "Progressing", "status": "False", "message": "timed out"},
                ],
            },
            "; its new pods are not ready: timed out",
        ),
        (SERVICE, {"conditions": [{"type": "Ready", "status": "True"}]}, ""),
        (
            SERVICE,
            {"conditions": [{"type": "Ready", "status": "False", "reason": "Failed"}]},
            "; Failed",
        ),
    ],
)
def test_pods_that_do_not_become_ready_are_told(
    registry, api: KubernetesApi, capsys, server: str, status: dict[str, object], note: str
):
    option = "--deployment" if server == DEPLOYMENT else "--inference-service"
    run(server=f"{option}=lidr-champion")
    capsys.readouterr()
    api.servers[server]["status"] = status
    assert run(server=f"{option}=lidr-champion") == 0
    said = capsys.readouterr().out
    assert said == f"lidr-champion is already set to serve the champion{note}\n"


def test_an_inference_service_follows_it_too(registry: MlflowClient, api: KubernetesApi):
    assert run(server="--inference-service=lidr-champion") == 0
    model = api.servers[SERVICE]["spec"]["predictor"]["model"]
    assert model["storageUri"] == "s3://lidr/store/1/model"
    assert model["runtime"] == "lidr-vllm"


def test_kserve_is_given_no_adapter(registry: MlflowClient, api: KubernetesApi, capsys):
    registry.set_registered_model_alias(MODEL, "champion", "3")
    assert run(server="--inference-service=lidr-champion") == 2
    assert "training.lora.merge true" in capsys.readouterr().err
    assert api.requests == []


@pytest.mark.parametrize(("status", "code"), [(403, 2), (404, 2), (503, 1)])
def test_what_the_api_server_refuses_is_said(registry, api, capsys, status: int, code: int):
    api.failing = status
    assert run() == code
    said = capsys.readouterr().err
    assert f"Deployment lidr-champion in namespace {NAMESPACE}: HTTP {status}" in said
    assert ("Check the name and the namespace" in said) == (code == 2)


def test_an_api_server_that_is_gone_is_said(registry, tmp_path: Path, monkeypatch, capsys):
    with serve() as server:
        monkeypatch.setattr(KUBECONFIG, str(write_kubeconfig(server, tmp_path / "config")))
    assert run() == 1
    assert "the API server does not answer" in capsys.readouterr().err
