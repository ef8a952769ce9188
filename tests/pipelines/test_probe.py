"""What a probe sees of the machine that it runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.pipelines.checks.finding import CheckInputs
from lidr.pipelines.checks.inside import probe
from lidr.pipelines.checks.inside.probe import (
    QUESTION_VARIABLE,
    ProbeQuestion,
    answer_in,
    gpus,
    inspect_pod,
    main,
)
from lidr.pipelines.checks.inside.seen import _matches_type
from lidr.pipelines.cli.inputs import read_profile
from lidr.pipelines.stamp import lidr_version
from tests.fakes import make_recipe
from tests.json_server import serving
from tests.moto_server import CREDENTIALS, moto_server

CODES = ("en", "es", "de")


@pytest.fixture(scope="module")
def s3() -> str:
    with moto_server() as endpoint:
        yield endpoint


def test_probe_tries_the_store_and_each_address_and_prints_one_line(s3, monkeypatch, capsys):
    import boto3

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    boto3.client("s3").create_bucket(Bucket="probed")
    monkeypatch.setenv("HF_TOKEN", "hf_planted0token")
    monkeypatch.setenv("EMPTY_TOKEN", "")
    with serving(lambda request, body: (401, "no")) as url:
        asked = ProbeQuestion(
            store="s3://probed/store",
            reach={"MLflow": url, "hub": "https://127.0.0.1:9", "API": "tcp://nobody.invalid:8888"},
            variables=("HF_TOKEN", "EMPTY_TOKEN", "NO_TOKEN"),
        )
        main({QUESTION_VARIABLE: asked.model_dump_json()})
    log = capsys.readouterr().out
    answer = answer_in(f"noise\n{log}")
    assert answer and answer.version == lidr_version()
    assert answer.empty == ("EMPTY_TOKEN", "NO_TOKEN")
    assert (answer.faults["store"], answer.faults["MLflow"]) == ("", "")
    assert answer.faults["hub"].startswith("127.0.0.1:9 is not reached")
    assert answer.faults["API"].startswith("nobody.invalid:8888 is not reached")
    assert answer.scratch > 0 and answer.shm > 0
    assert "planted" not in log
    assert boto3.client("s3").list_objects_v2(Bucket="probed").get("KeyCount") == 0


def test_probe_goes_through_the_proxy_that_steps_go_through(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://user:planted@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", ".svc")
    asked = {"hub": "https://hub.invalid", "own": "https://own.svc", "API": "tcp://api.svc:80"}
    faults = inspect_pod(ProbeQuestion(store="s3://b/s", reach=asked)).faults
    found = {name: faults[name].partition(" ")[0] for name in asked}
    assert found == {"hub": "127.0.0.1:9", "own": "own.svc:443", "API": "api.svc:80"}


def test_probe_names_services_that_a_proxy_would_be_asked_for(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "127.0.0.1:port")
    monkeypatch.setenv("no_proxy", ".svc")
    asked = {
        "API": "tcp://api.kubeflow:8887",
        "MLflow": "http://lidr-mlflow:5000",
        "Kubeflow's object store": "https://s3.amazonaws.com",
        "mirror": "http://mirror.invalid",
    }
    faults = inspect_pod(
        ProbeQuestion(store="s3://b/s", reach=asked, namespaces=("lidr", "kubeflow"))
    ).faults
    del faults["store"]
    assert faults == {
        "API": "HTTPS_PROXY also applies to api.kubeflow: name the host in NO_PROXY",
        "MLflow": "HTTP_PROXY also applies to lidr-mlflow: name the host in NO_PROXY",
        "Kubeflow's object store": "127.0.0.1:9 is not reached: Connection refused",
        "mirror": "http://127.0.0.1:port is not an address: "
        "Port could not be cast to integer value as 'port'",
    }


def test_probe_names_an_address_that_is_none_beside_the_others(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "mirror.invalid")
    asked = {
        "empty part": "http://mlflow..svc:5000",
        "bracket": "http://[bad",
        "model hub": "https://huggingface.co",
        "closed": "http://127.0.0.1:9",
    }
    faults = inspect_pod(ProbeQuestion(store="s3://b/s", reach=asked)).faults
    assert faults["empty part"].startswith("http://mlflow..svc:5000 is not an address: ")
    assert faults["bracket"] == "http://[bad is not an address: Invalid IPv6 URL"
    assert faults["model hub"] == "mirror.invalid names no host: write it as https://host"
    assert faults["closed"].startswith("127.0.0.1:9 is not reached")


@pytest.mark.parametrize(
    "address", ["http://mlflow..svc:5000", "http://[bad", "http://mlflow:50O0"]
)
def test_what_is_no_address_is_not_taken_for_a_service(address: str, monkeypatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    recipe = make_recipe(model={"source": "m"}, prompts={"files": dict.fromkeys(CODES, "p.jsonl")})
    inputs = CheckInputs(recipe, read_profile("cluster"), 60)
    assert not inputs.only_inside(address)
    assert inputs.only_inside("http://nobody-mlflow.svc:5000")


def test_probe_reaches_an_artifact_store_outside_through_a_proxy(monkeypatch):
    with serving(lambda request, body: (200, "")) as proxy:
        monkeypatch.setenv("https_proxy", proxy)
        monkeypatch.setenv("no_proxy", ".svc")
        asked = {"Kubeflow's object store": "https://s3.invalid", "gRPC": "tcp://s3.invalid:443"}
        faults = inspect_pod(ProbeQuestion(store="s3://b/s", reach=asked)).faults
    assert {name: faults[name] for name in asked} == dict.fromkeys(asked, "")


def test_probe_measures_the_folder_of_temporary_files(monkeypatch, tmp_path: Path):
    measured: list[str] = []

    class Usage:
        free = total = 1

    monkeypatch.setattr(probe.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(probe.shutil, "disk_usage", lambda path: measured.append(path) or Usage)
    inspect_pod(ProbeQuestion(store="s3://b/s"))
    assert str(tmp_path) in measured


def test_probe_says_why_the_store_refuses(s3, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    answer = inspect_pod(ProbeQuestion(store="s3://no-such-bucket/store"))
    assert "no-such-bucket" in answer.faults["store"]


def test_gpus_are_read_from_the_driver_where_its_tool_is_not(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    for number in range(2):
        folder = tmp_path / f"0000:0{number}:00.0"
        folder.mkdir()
        text = f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t {number}\nGPU UUID: \t GPU-x\n"
        (folder / "information").write_text(text)
    assert gpus(tmp_path) == ("NVIDIA H100 80GB HBM3",) * 2
    assert gpus(tmp_path / "none") == ()


def test_gpus_are_those_that_the_tool_lists(tmp_path: Path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A100-SXM4-80GB'\necho 'NVIDIA A100-SXM4-80GB'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert gpus() == ("NVIDIA A100-SXM4-80GB",) * 2


@pytest.mark.parametrize(
    ("kind", "model", "same"),
    [
        ("H100", "NVIDIA H100 80GB HBM3", True),
        ("H100", "NVIDIA H200", False),
        ("H100", "NVIDIA GH100", False),
        ("A100-80GB", "NVIDIA A100-SXM4-80GB", True),
        ("A100-80GB", "NVIDIA A100-SXM4-40GB", False),
        ("L4", "NVIDIA L40S", False),
        ("L4", "NVIDIA L4", True),
    ],
)
def test_type_of_a_gpu_is_a_word_of_its_model(kind: str, model: str, same: bool):
    assert _matches_type(kind, model) is same


@pytest.mark.parametrize(
    "log", ["", "noise", f"{probe.ANSWER_PREFIX}{{", f"{probe.ANSWER_PREFIX}[]"]
)
def test_log_without_an_answer_has_none(log: str):
    if probe.ANSWER_PREFIX not in log:
        assert answer_in(log) is None
        return
    with pytest.raises(ValueError):
        answer_in(log)
