"""lidr check on a model: what a folder of this machine holds, and where addresses lead."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.components.shared.inputs.fetch_plans import fetch_plan
from lidr.components.shared.inputs.named import named_inputs
from lidr.components.shared.store.open import open_store
from lidr.pipelines.checks.finding import CheckInputs, Finding
from lidr.pipelines.checks.inputs import model_findings
from lidr.pipelines.cli.check import _located
from lidr.pipelines.cli.inputs import read_profile
from tests.fakes import make_recipe
from tests.models import safetensors
from tests.unit.shared.models.test_admission import model_of

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9000000000\n"


def found(model: dict[str, str], profile: str = "local", **changes: object) -> dict[str, Finding]:
    files = dict.fromkeys(("en", "es", "de"), "prompts.jsonl")
    recipe = make_recipe(model=model, prompts={"files": files})
    place = read_profile(profile).model_copy(update=changes)
    return {each.name: each for each in model_findings(CheckInputs(recipe, place, 60))}


def test_a_whole_model_in_a_folder_lacks_nothing(tmp_path: Path):
    findings = found({"source": str(model_of(tmp_path / "m", "llama-3"))})
    assert {each.state for each in findings.values()} == {"ok"}
    assert findings["model files"].detail.endswith("1 of safetensors")
    assert findings["model weights"].state == "ok"


@pytest.mark.parametrize(
    ("name", "data", "detail"),
    [
        ("model.safetensors", POINTER, "a pointer of Git LFS"),
        ("pytorch_model.bin", b"PK", "pytorch_model.bin may be a pickle"),
    ],
)
def test_a_folder_that_prepare_refuses_is_missing(tmp_path: Path, name: str, data: bytes, detail):
    folder = model_of(tmp_path / "m", "llama-3")
    (folder / name).write_bytes(data)
    findings = found({"source": str(folder)})
    assert list(findings) == ["model files"]
    assert findings["model files"].state == "missing"
    assert detail in findings["model files"].detail


def test_an_adapter_that_was_not_fetched_whole_is_missing(tmp_path: Path):
    folder, adapter = model_of(tmp_path / "m", "llama-3"), tmp_path / "a"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (adapter / "adapter_model.safetensors").write_bytes(POINTER)
    files = found({"source": str(folder), "adapter": str(adapter)})["model files"]
    assert (files.state, "a pointer of Git LFS" in files.detail) == ("missing", True)
    (adapter / "adapter_model.safetensors").write_bytes(safetensors())
    assert found({"source": str(folder), "adapter": str(adapter)})["model files"].state == "ok"


@pytest.mark.parametrize("profile", ["local", "cluster"])
@pytest.mark.parametrize("source", ["mlflow-artifacts:/1/model", "runs:/0123/model"])
def test_a_model_among_mlflow_s_artifacts_is_no_folder(source: str, profile: str):
    files = found({"source": source}, profile)["model files"]
    assert (files.state, files.detail) == (
        "missing",
        f"{source} is among MLflow's artifacts, from which lidr reads no model",
    )


def test_a_folder_that_only_pods_may_see_is_unknown():
    files = found({"source": "/nowhere/model"}, "cluster")["model files"]
    assert files.state == "unknown"
    assert "is not a folder here; pods read it from their image or a volume" in files.detail


@pytest.mark.parametrize(
    ("uri", "detail"),
    [
        ("", "in an MLflow whose address the profile does not name"),
        ("http://lidr-mlflow:5000", "in an MLflow that is reached from pods only"),
    ],
)
def test_a_registry_that_is_not_reached_is_unknown_with_the_reason(monkeypatch, uri, detail):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    model = found({"source": "models:/mine@champion"}, "cluster", tracking_uri=uri)["model"]
    assert (model.state, detail in model.detail) == ("unknown", True)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_check_finds_the_copies_of_inputs_in_a_store_on_this_machine(tmp_path: Path, scheme: str):
    address = "hf://datasets/org/name@abc/prompts.jsonl"
    files = dict.fromkeys(("en", "es", "de"), address)
    recipe = make_recipe(model={"source": "m"}, prompts={"files": files})
    named = next(each for each in named_inputs(recipe) if each.source == address)
    plan = fetch_plan(named, open_store(str(tmp_path)))
    plan.stage.write("prompts.jsonl", b"{}")
    plan.stage.finish({})
    place = read_profile("local").model_copy(update={"store": f"{scheme}{tmp_path}"})
    assert _located(recipe, place).prompts.files["en"] == (plan.place,)
