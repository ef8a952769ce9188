from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.models.outside import model_fingerprint
from lidr.components.shared.models.sources import model_files
from lidr.components.shared.models.stages import canonical_model_stage, model_stage
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import new_stage
from tests.models import tiny_model
from tests.unit.shared.engines.cases import lively_adapter


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_a_trained_model_keeps_its_own_stage(store, tmp_path):
    stage = new_stage(store, "train", 1, {}, {})
    for path in sorted(tiny_model(tmp_path / "model").iterdir()):
        stage.upload(f"model/{path.name}", path)
    stage.finish({})
    for name in (stage.uri, f"{stage.uri}/model", f"{stage.uri}/model/"):
        assert model_stage(store, name) == stage.uri


def test_an_outside_model_gets_a_stage_that_follows_its_files(store, tmp_path):
    folder = tiny_model(tmp_path / "model")
    uri = model_stage(store, str(folder))
    assert model_stage(store, str(folder)) == uri
    assert model_files(uri).folder == folder
    (folder / "generation_config.json").write_text('{"eos_token_id": 7}')
    assert model_stage(store, str(folder)) != uri


def named_by_a_recipe(store: LocalStore, folder: str, prompts: str, digest: str = "d" * 64) -> str:
    stage = new_stage(store, "prepare", 1, {"model": digest, "prompts": prompts}, {})
    stage.write("model.json", json.dumps({"source": folder, "digest": digest}).encode())
    return stage.finish({})


def test_a_model_has_one_stage_whoever_names_it(store, tmp_path):
    trained = new_stage(store, "train", 1, {}, {})
    trained.write("model/config.json", b"{}")
    trained.finish({})
    start = named_by_a_recipe(store, f"{trained.uri}/model", "some")
    assert canonical_model_stage(store, start) == trained.uri, "through the registry"
    assert canonical_model_stage(store, trained.uri) == trained.uri
    folder = tiny_model(tmp_path / "model")
    digest = model_fingerprint(str(folder))
    starts = [named_by_a_recipe(store, str(folder), each, digest) for each in ("some", "other")]
    assert starts[0] != starts[1]
    expected = {model_stage(store, str(folder))}
    assert {canonical_model_stage(store, uri) for uri in (*starts, *expected)} == expected


def test_a_registered_adapter_comes_with_its_base(store, tmp_path, monkeypatch):
    from lidr.components.shared.tracking import mlflow_client

    folder = tiny_model(tmp_path / "model")
    adapter = lively_adapter(tmp_path / "adapter", folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = mlflow_client("")
    client.create_registered_model("mine")
    client.create_model_version("mine", str(folder), tags={"lidr.adapter": str(adapter)})
    files = model_files(model_stage(store, "models:/mine/1"))
    assert (files.folder, files.adapter) == (folder, adapter)


@pytest.mark.parametrize("name", ["/no/such/folder", "s/stages/train/abc"])
def test_what_is_no_model_is_refused(store, name):
    with pytest.raises(BadInput, match=r"no model at .* Name a folder, a stage of a run"):
        model_stage(store, name)
