from __future__ import annotations

import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from lidr.components.shared.core.errors import BadInput, CorruptStage
from lidr.components.shared.models.admission import check_adapter, check_model
from lidr.components.shared.models.outside import (
    NotRegistered,
    fetch_model,
    model_fingerprint,
    resolve_model,
)
from lidr.components.shared.models.sources import model_files, model_uri
from tests.fakes import finished_stage
from tests.json_server import serving
from tests.models import safetensors

FILES = {
    "config.json": "{}",
    "model.safetensors": safetensors().decode(),
    "tokenizer.json": "{}",
    "tokenizer_config.json": '{"chat_template": "{{ messages }}"}',
}


@pytest.fixture
def folder(tmp_path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    for name, text in FILES.items():
        (path / name).write_text(text)
    return path


def refused(folder: Path) -> str:
    with pytest.raises(BadInput) as caught:
        check_model(folder)
    assert caught.value.exit_code == 2
    assert str(folder) in caught.value.message
    assert caught.value.remedy
    return str(caught.value)


def test_a_whole_model_is_accepted(folder):
    check_model(folder)


def test_the_chat_template_may_be_a_file_of_its_own(folder):
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    check_model(folder)


def test_no_folder_is_refused(tmp_path):
    assert "no such model folder" in refused(tmp_path / "none")


def test_a_model_without_configuration_is_refused(folder):
    (folder / "config.json").unlink()
    assert "no config.json" in refused(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "a.pth", "b.ckpt"])
def test_pickles_are_refused_with_the_reason(folder, name):
    (folder / "model.safetensors").rename(folder / name)
    message = refused(folder)
    assert "a pickle, which can run code" in message
    assert "safetensors" in message


def test_a_model_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    assert "no weights" in refused(folder)


def test_a_model_without_tokenizer_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer" in refused(folder)


@pytest.mark.parametrize("text", ["{}", '{"chat_template": ""}', '{"chat_template": null}', None])
def test_a_model_without_chat_template_is_refused(folder, text):
    config = folder / "tokenizer_config.json"
    config.unlink() if text is None else config.write_text(text)
    assert "no chat template" in refused(folder)


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff"])
def test_a_broken_tokenizer_configuration_is_refused(folder, data):
    (folder / "tokenizer_config.json").write_bytes(data)
    assert "not a JSON object" in refused(folder)


@pytest.mark.parametrize("name", FILES)
def test_the_fingerprint_changes_with_one_byte_of_any_file(folder, name):
    before = model_fingerprint(str(folder))
    last = FILES[name][-1]
    changed = FILES[name][:-1] + "\x01" if last == "\0" else FILES[name] + " "
    (folder / name).write_text(changed)
    assert model_fingerprint(str(folder)) != before


def test_the_fingerprint_does_not_depend_on_place_or_other_files(folder, tmp_path):
    before = model_fingerprint(str(folder))
    (folder / "README.md").write_bytes(b"not loaded, not counted")
    moved = folder.rename(tmp_path / "elsewhere")
    assert model_fingerprint(str(moved)) == before


def test_a_hub_model_must_be_pinned():
    one, other = (f"hf://org/name@{digit * 40}" for digit in "ab")
    assert model_fingerprint(one) != model_fingerprint(other)
    with pytest.raises(BadInput, match=r"'main', which is not the 40 hex.*/org/name/commits/main"):
        model_fingerprint("hf://org/name@main")
    with pytest.raises(BadInput, match=r"names no revision.*<commit>"):
        model_fingerprint("hf://org/name")


def test_a_local_stage_s_model_is_used_in_place(tmp_path):
    stage = finished_stage(str(tmp_path), "train", {"model/config.json": b"{}"})
    assert model_files(stage.uri).folder == tmp_path / stage.prefix / "model"
    assert model_uri(stage.uri) == f"{stage.uri}/model"


def test_a_corrupt_model_is_not_loaded(tmp_path):
    stage = finished_stage(str(tmp_path), "train", {"model/model.safetensors": b"right"})
    stage.store.write(stage.key("model/model.safetensors"), b"wrong")
    with pytest.raises(CorruptStage, match=r"model\.safetensors"):
        model_files(stage.uri)


def test_an_outside_model_is_where_it_was(tmp_path, folder):
    described = json.dumps({"source": str(folder), "digest": "abc"}).encode()
    stage = finished_stage(str(tmp_path / "s"), "prepare", {"model.json": described})
    assert model_files(stage.uri).folder == fetch_model(str(folder)) == folder
    assert model_uri(stage.uri) == str(folder)


def test_a_stage_without_model_is_refused(tmp_path):
    stage = finished_stage(str(tmp_path), "pair", {"pairs.parquet": b""})
    for attempt in (model_files, model_uri):
        with pytest.raises(BadInput, match="holds no model"):
            attempt(stage.uri)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A registry with one model of two versions; the first one is the champion."""
    from lidr.components.shared.tracking import mlflow_client

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = mlflow_client("")
    client.create_registered_model("mine")
    for number in (1, 2):
        tags = {"lidr.adapter": "s3://bucket/a2"} if number == 2 else {}
        client.create_model_version("mine", source=f"s3://bucket/v{number}", tags=tags)
    client.set_registered_model_alias("mine", "champion", "1")


def test_a_registered_model_is_followed_to_its_files(registry):
    assert resolve_model("models:/mine@champion") == ("s3://bucket/v1", "")
    assert resolve_model("models:/mine/2") == ("s3://bucket/v2", "s3://bucket/a2")
    assert resolve_model("/a/folder").source == "/a/folder"


@pytest.mark.parametrize("source", ["models:/mine@none", "models:/other/1"])
def test_a_model_that_is_not_registered_is_refused(registry, source):
    with pytest.raises(BadInput, match=rf"^'{source}' is not in MLflow.*models:/name@alias"):
        resolve_model(source)


def test_a_server_that_is_not_mlflow_is_no_empty_registry(monkeypatch):
    with serving(lambda request, body: (404, "<html>404</html>")) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(BadInput, match=r"MLflow does .*Check MLFLOW_TRACKING_URI") as refused:
            resolve_model("models:/mine@champion")
    assert not isinstance(refused.value, NotRegistered)
    assert address in str(refused.value)


def test_a_server_s_own_refusal_is_an_empty_registry(monkeypatch):
    answer = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no model mine"}
    with serving(lambda request, body: (404, answer)) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(NotRegistered, match="no model mine"):
            resolve_model("models:/mine@champion")


def test_a_registered_model_is_named_with_a_version_or_an_alias(registry):
    with pytest.raises(BadInput, match=r"^'models:/mine' names neither a version nor an alias"):
        resolve_model("models:/mine")


def test_a_registered_model_needs_a_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    needed = r"^'models:/mine@champion' is in MLflow, but MLFLOW_TRACKING_URI is not set"
    with pytest.raises(BadInput, match=needed):  # of a recipe's key, or of lidr follow's model
        resolve_model("models:/mine@champion")


def test_an_adapter_goes_with_an_outside_model(tmp_path, folder):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes(safetensors())
    described = {"source": str(folder), "adapter": str(adapter)}
    data = json.dumps(described).encode()
    stage = finished_stage(str(tmp_path / "store"), "prepare", {"model.json": data})
    files = model_files(stage.uri)
    assert (files.folder, files.adapter, files.trained) == (folder, adapter, False)


@pytest.mark.parametrize("missing", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_without_configuration_or_safetensors_is_refused(tmp_path, missing):
    for name in ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"):
        if name != missing:
            (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(BadInput, match=f"no {missing}"):
        check_adapter(tmp_path)


class Hub(BaseHTTPRequestHandler):
    """The one answer of a model hub that names a model's newest commit."""

    def do_GET(self):
        known = self.path == "/api/models/org/model"
        body = json.dumps({"id": "org/model", "sha": "c0ffee"} if known else {}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    api = partial(HfApi, endpoint=f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr("huggingface_hub.HfApi", api)
    yield
    server.shutdown()
    server.server_close()


def test_a_recipe_may_take_the_newest_revision(hub):
    assert resolve_model("hf://org/model", unpinned=True).source == "hf://org/model@c0ffee"
    assert resolve_model("hf://org/model@abc", unpinned=True).source == "hf://org/model@abc"
    assert resolve_model("hf://org/model").source == "hf://org/model"  # fetching it is refused


def test_a_model_that_the_hub_does_not_have_is_refused(hub):
    with pytest.raises(BadInput, match="hf://org/other cannot be looked up"):
        resolve_model("hf://org/other", unpinned=True)
