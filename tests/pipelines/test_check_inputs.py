"""lidr check on a model: what a folder of this machine holds, and where addresses lead."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.core.errors import BadInput, CorruptStage
from lidr.components.shared.inputs.fetch_plans import fetch_plan
from lidr.components.shared.inputs.named import named_inputs
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import MARKER
from lidr.pipelines.checks.finding import CheckInputs, Finding
from lidr.pipelines.checks.inputs import machine_findings, model_findings, prompts_findings
from lidr.pipelines.cli.check import _located
from lidr.pipelines.cli.inputs import read_profile
from lidr.pipelines.cluster.submit import require_reachable
from tests import web_hosts
from tests.disks import small_disk
from tests.fakes import make_recipe
from tests.json_server import serving
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
    assert findings["model files"].detail.endswith("1 of them safetensors")
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


def test_a_copy_that_was_cut_off_is_missing(tmp_path: Path):
    folder = model_of(tmp_path / "m", "llama-3")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    files = found({"source": str(folder)})["model files"]
    assert (files.state, files.remedy) == ("missing", "Fetch the model's files again.")
    parts = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = json.dumps({"weight_map": dict(zip("ab", parts, strict=True))})
    (folder / "model.safetensors.index.json").write_text(index)
    assert found({"source": str(folder)})["model files"].state == "missing"
    (folder / parts[1]).write_bytes(safetensors())
    weights = found({"source": str(folder)})["model weights"]
    assert (weights.state, weights.detail) == ("ok", "2 files of safetensors, all there")


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
    address = "hf://datasets/org/name@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/prompts.jsonl"
    files = dict.fromkeys(("en", "es", "de"), address)
    recipe = make_recipe(model={"source": "m"}, prompts={"files": files})
    named = next(each for each in named_inputs(recipe) if each.source == address)
    plan = fetch_plan(named, open_store(str(tmp_path)))
    plan.stage.write("prompts.jsonl", b"{}")
    plan.stage.finish({})
    place = read_profile("local").model_copy(update={"store": f"{scheme}{tmp_path}"})
    assert _located(recipe, place).prompts.files["en"] == (plan.place,)
    plan.stage.store.write(plan.stage.key(MARKER), b"{}")
    with pytest.raises(CorruptStage, match="fetch it again with `lidr fetch`"):
        _located(recipe, place)


ROWS = "".join(json.dumps({"prompt_id": n, "text": "Add.", "label": 1}) + "\n" for n in range(3))


def found_prompts(
    files: str, profile: str = "local", settings: dict[str, Any] | None = None, **changes: object
) -> dict[str, Finding]:
    prompts = {"files": dict.fromkeys(("en", "es", "de"), files), **(settings or {})}
    recipe = make_recipe(model={"source": "m"}, prompts=prompts)
    place = read_profile(profile).model_copy(update=changes)
    return {each.name: each for each in prompts_findings(CheckInputs(recipe, place, 60))}


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_prompts_on_this_machine_are_missing_where_pods_read_them(tmp_path: Path, scheme: str):
    (tmp_path / "p.jsonl").write_text(ROWS)
    pin = f"#licence=https://a.b&sha256={hashlib.sha256(ROWS.encode()).hexdigest()}"
    here = f"{scheme}{tmp_path}/p.jsonl"
    for address in (here, here + pin):
        assert found_prompts(address)["prompts en"].state == "ok"
        assert found_prompts(address, "cluster")["prompts en"].state == "missing"
        files = dict.fromkeys(("en", "es", "de"), address)
        recipe = make_recipe(model={"source": "s3://b/m"}, prompts={"files": files})
        with pytest.raises(BadInput, match=r"files\.en\.0 is on this machine"):
            require_reachable(recipe, read_profile("cluster"))


def test_a_list_of_translation_tasks_on_this_machine_is_missing_where_pods_read_it(tmp_path: Path):
    (tmp_path / "p.jsonl").write_text(ROWS)
    (tmp_path / "tasks.jsonl").write_text('{"prompt_id": "1"}\n')
    tasks = {"translation_tasks": f"{tmp_path}/tasks.jsonl"}
    assert found_prompts(f"{tmp_path}/p.jsonl", settings=tasks)["prompts en"].state == "ok"
    english = found_prompts("s3://bucket/p.jsonl", "cluster", tasks)["prompts en"]
    assert (english.state, "tasks.jsonl is on this machine" in english.detail) == ("missing", True)


def test_prompt_files_are_read_once():
    pin = hashlib.sha256(ROWS.encode()).hexdigest()
    with web_hosts.serving() as host:
        for code in ("en", "es", "de"):
            host.files[f"/{code}.jsonl"] = ROWS.encode()
        files = {c: f"{host.url}/{c}.jsonl#sha256={pin}" for c in ("en", "es", "de")}
        recipe = make_recipe(model={"source": "m"}, prompts={"files": files})
        inputs = CheckInputs(recipe, read_profile("local"), 60)
        findings = {each.name: each for each in prompts_findings(inputs)}
        assert "fields label are not read" in findings["prompt fields"].detail
        assert sorted(host.asked) == ["/de.jsonl", "/en.jsonl", "/es.jsonl"]


def test_prompts_that_only_pods_have_a_token_for_are_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def gated(*_: object) -> tuple[int, object, dict[str, str]]:
        return 401, {"error": "gated"}, {"X-Error-Code": "GatedRepo"}

    monkeypatch.setenv("HF_TOKEN", "")
    with serving(gated) as url:
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        files = "hf://datasets/org/name@" + "a" * 40 + "/p.jsonl"
        pods = {"secrets": {"hub": ("HF_TOKEN",)}}
        assert found_prompts(files, "cluster", **pods)["prompts en"].state == "unknown"
        assert found_prompts(files, "cluster", secrets={})["prompts en"].state == "missing"


@pytest.mark.slow
def test_the_disk_of_the_store_is_looked_at():
    recipe = make_recipe(
        model={"source": "m"}, prompts={"files": {"en": "p", "es": "p", "de": "p"}}
    )

    def disk(store: str) -> list[str]:
        place = read_profile("local").model_copy(update={"store": store})
        findings = machine_findings(CheckInputs(recipe, place, 60))
        return [each.detail for each in findings if each.name == "disk space"]

    assert disk("s3://bucket/store") == []
    with small_disk("8M") as small:
        for scheme in ("", "file://"):
            [told] = disk(f"{scheme}{small}/new/store")
            assert told.startswith("0.0 GiB are free")
