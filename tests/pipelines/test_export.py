"""A model card says what is known, and a folder comes to the hub in one commit."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.models.outside import ADAPTER_TAG
from lidr.components.shared.registry.ancestry import read_ancestry
from lidr.components.shared.registry.registration import default_audit_log, ensure_version
from lidr.components.shared.registry.versions import DIGEST_TAG
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import recipe_key
from lidr.components.shared.store.stage import Stage, new_stage
from lidr.components.shared.tracking import client_at
from lidr.pipelines.cli.export import _create_repository, _upload, export_command
from lidr.pipelines.model_card import model_card
from tests.chains import Chain, make_chain
from tests.disks import small_disk
from tests.fakes import make_recipe
from tests.json_server import serving
from tests.models import tiny_model
from tests.unit.shared.engines.cases import lively_adapter
from tests.yaml_text import read_yaml


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Chain:
    return make_chain(str(tmp_path_factory.mktemp("chain") / "store"))


def test_a_card_says_what_is_known_and_what_is_not(chain):
    card = model_card(read_ancestry(None, chain.version(2), chain.store))
    _, front, body = card.split("---\n", 2)
    assert read_yaml(front)["tags"][0] == "lidr"
    assert "# tiny, version 3" in body and "M_2 of a run" in body
    assert "evaluation is not on the store any more" in body
    assert "nothing is known of other languages" in body
    assert chain.tags(2)["lidr.model_digest"] in body


def test_a_card_outlives_the_run_s_recipe(chain, tmp_path):
    shutil.copytree(chain.store, tmp_path / "store")
    shutil.rmtree(tmp_path / "store/runs")
    version = Chain(str(tmp_path / "store"), rounds=chain.rounds).version(1)
    card = model_card(read_ancestry(None, version, str(tmp_path / "store")))
    assert "Not known any more." in card and "## Recipe" not in card


@pytest.mark.parametrize(
    ("pairing", "method", "weakness"),
    [
        ({}, "Language Imbalance Driven Rewarding", "the model's own strength in its dominant"),
        (
            {"rewarder": "icr", "icr": {"reference": "hf://org/reference"}},
            "by the implicit reward of a model that was tuned on preferences",
            "another model's implicit reward: what that model prefers wrongly",
        ),
        (
            {"rewarder": "judge"},
            "by the grades of another language model",
            "another model's grades: what that model grades wrongly",
        ),
    ],
)
def test_a_card_says_where_the_reward_came_from(chain, tmp_path, pairing, method, weakness):
    shutil.copytree(chain.store, tmp_path / "store")
    copy = Chain(str(tmp_path / "store"), rounds=chain.rounds)
    sections: dict[str, Any] = {"registry": {"model_name": copy.name}, "pairing": pairing}
    if pairing:  # the best of several samples
        sections["generation"] = {"engine": "transformers", "samples": 2, "temperature": 1.0}
    if pairing.get("rewarder") == "judge":
        sections["judge"] = {"endpoint": {"model": "judge-1"}}
    recipe = make_recipe(**sections)
    (tmp_path / "store" / recipe_key(copy.run)).write_text(recipe.model_dump_json())
    card = model_card(read_ancestry(None, copy.version(1), copy.store))
    assert method in card and weakness in card


@pytest.mark.parametrize("named", ["tiny", "tiny@", "tiny/x", "a/b@c", ""])
def test_an_export_needs_a_version(named):
    with pytest.raises(BadInput, match="names no version"):
        export_command(named, "folder")


def test_an_export_goes_to_a_folder_or_the_hub():
    with pytest.raises(BadInput, match="is not a folder"):
        export_command("tiny@champion", "s3://bucket/model")


@dataclass
class Registered:
    """A registered model with one version, whose adapter stands alone."""

    client: Any
    store: str
    base: Path
    adapter: Path

    def export(self, to: Path, name: str = "tiny/1", store: str | None = None) -> None:
        export_command(name, str(to), store)


@pytest.fixture
def registered(tmp_path: Path, monkeypatch) -> Registered:
    return registered_model(tmp_path, monkeypatch, torch.bfloat16)


def registered_model(
    tmp_path: Path, monkeypatch, dtype: torch.dtype, name: str = "tiny", **settings: object
) -> Registered:
    base = tiny_model(tmp_path / "base")
    adapter = lively_adapter(tmp_path / "adapter", base)
    weights = load_file(base / "model.safetensors")
    save_file({k: t.to(dtype) for k, t in weights.items()}, base / "model.safetensors")
    config = json.loads((base / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (base / "config.json").write_text(json.dumps(config))
    # transformers loads these settings with a warning, and refuses to save them
    (base / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.9}')
    factors = load_file(adapter / "adapter_model.safetensors")
    small = {k: t * 1e-4 if "lora_B" in k else t for k, t in factors.items()}
    save_file(small, adapter / "adapter_model.safetensors")
    plain = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(plain | settings))
    store = str(tmp_path / "store")
    prepared = stage_with(store, "prepare", "model", base)
    trained = stage_with(store, "train", "adapter", adapter, {"stage": prepared.uri})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = client_at(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tags = {DIGEST_TAG: trained.digest, ADAPTER_TAG: f"{trained.uri}/adapter"}
    source, audit_log = f"{prepared.uri}/model", default_audit_log(store, name)
    ensure_version(client, name, source, tags, "", audit_log)
    return Registered(client, store, base, adapter)


def stage_with(
    store: str, step: str, folder: str, files: Path, base: dict[str, str] | None = None
) -> Stage:
    stage = new_stage(open_store(store), step, 1, {}, {})
    for path in sorted(files.iterdir()):
        stage.upload(f"{folder}/{path.name}", path)
    if base:
        stage.write("base.json", json.dumps(base).encode())
    stage.finish({})
    return stage


def updates(made: Registered, folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the adapter adds to one weight, and what the exported one has more."""
    layer = "model.layers.0.mlp.down_proj"
    factors = load_file(made.adapter / "adapter_model.safetensors")
    down, up = (factors[f"base_model.model.{layer}.lora_{x}.weight"] for x in "AB")
    before = load_file(made.base / "model.safetensors")[f"{layer}.weight"].float()
    after = load_file(folder / "model.safetensors")[f"{layer}.weight"].float()
    return up @ down * 2, after - before  # alpha / rank


def kept(update: torch.Tensor, seen: torch.Tensor) -> float:
    return float((update * seen).sum() / update.square().sum())


def test_an_export_keeps_an_adapter_s_small_update_on_average(registered: Registered, tmp_path):
    target = tmp_path / "out"
    registered.export(target)
    update, seen = updates(registered, target)
    before = load_file(registered.base / "model.safetensors")
    nearest = before["model.layers.0.mlp.down_proj.weight"]
    lost = kept(update, (nearest.float() + update).bfloat16().float() - nearest.float())
    assert lost < 0.3 < 0.75 < kept(update, seen) < 1.25
    written = load_file(target / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.bfloat16}
    norm = "model.norm.weight"  # has no adapter
    assert torch.equal(written[norm], before[norm])
    assert "Evaluated with its adapter beside the weights" in (target / "README.md").read_text()


def test_an_export_keeps_the_base_model_s_own_files(registered: Registered, tmp_path):
    """Among them generation settings that save_pretrained refuses."""
    target = tmp_path / "out"
    registered.export(target)
    names = {path.name for path in registered.base.iterdir()}
    assert {path.name for path in target.iterdir()} == names | {"README.md"}
    for name in names - {"model.safetensors"}:
        assert (target / name).read_bytes() == (registered.base / name).read_bytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_an_export_adds_an_adapter_to_other_weights_in_float32(tmp_path, monkeypatch, dtype):
    from transformers import AutoModelForCausalLM

    made = registered_model(tmp_path, monkeypatch, dtype)
    made.export(tmp_path / "out")
    update, seen = updates(made, tmp_path / "out")
    assert torch.allclose(seen, update, atol=1e-8)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype is torch.float32
    configs = [(folder / "config.json").read_bytes() for folder in (made.base, tmp_path / "out")]
    assert (configs[0] == configs[1]) == (dtype is torch.float32)


def test_an_export_adds_an_adapter_that_is_more_than_its_factors(tmp_path, monkeypatch):
    settings = {"alpha_pattern": {"down_proj": 32}}
    made = registered_model(tmp_path, monkeypatch, torch.bfloat16, **settings)
    made.export(tmp_path / "out")
    update, seen = updates(made, tmp_path / "out")
    assert 0.75 < kept(2 * update, seen) < 1.25


@pytest.mark.parametrize("kind", ["folder", "empty", "file", "link"])
def test_an_export_refuses_a_target_that_exists_before_anything_else(tmp_path, kind):
    target = tmp_path / "out"
    if kind == "file":
        target.write_text("")
    elif kind == "link":
        target.symlink_to(tmp_path / "gone")
    else:
        target.mkdir()
        if kind == "folder":
            (target / "mine").write_text("")
    with pytest.raises(BadInput, match="out: already exists"):
        export_command("tiny@champion", str(target), str(tmp_path / "no-store"))


@pytest.mark.parametrize("form", ["{}", "file://{}"])
def test_an_export_reads_the_store_that_is_given(registered: Registered, tmp_path, form):
    moved = tmp_path / "moved"
    shutil.copytree(registered.store, moved)
    shutil.rmtree(registered.store)
    registered.export(tmp_path / "out", store=form.format(moved))
    assert (tmp_path / "out/model.safetensors").is_file()
    absent = form.format(tmp_path / "absent")
    with pytest.raises(BadInput, match="there is no store at"):
        registered.export(tmp_path / "other", store=absent)


def test_an_export_takes_a_name_with_an_at_sign(tmp_path, monkeypatch):
    made = registered_model(tmp_path, monkeypatch, torch.bfloat16, name="me@home")
    made.client.set_registered_model_alias("me@home", "champion", "1")
    made.export(tmp_path / "by-alias", "me@home@champion")
    made.export(tmp_path / "by-number", "me@home/1")
    assert (tmp_path / "by-alias/README.md").is_file()
    assert (tmp_path / "by-number/README.md").is_file()


@pytest.mark.parametrize("size", ["16k", "300k"])
def test_an_export_names_a_disk_that_is_too_full(registered: Registered, size):
    with small_disk(size) as disk:
        with pytest.raises(StoreError, match=r"(No space left|too full).*on a disk with more room"):
            registered.export(disk / "out")
        assert list(disk.iterdir()) == []


def test_an_export_names_a_folder_that_cannot_be_written(registered: Registered, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot write the model to .*Name a folder that"):
        registered.export(tmp_path / "file/out")


def test_an_export_asks_the_hub_before_it_reads_the_model(registered: Registered, monkeypatch):
    shutil.rmtree(registered.base)
    for path in Path(registered.store).glob("stages/*/*/*/*.safetensors"):
        path.write_bytes(b"damaged")
    with serving(lambda request, body: (403, {"error": "no"})) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        with pytest.raises(BadInput, match="hf://org/name cannot be written"):
            export_command("tiny/1", "hf://org/name")


def test_a_folder_comes_to_the_hub_in_one_commit(tmp_path: Path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "README.md").write_text("# card")
    asked: list[str] = []
    uploaded: dict[str, bytes] = {}

    def answer(request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, object]:
        path = request.path.partition("?")[0]
        asked.append(f"{request.command} {path} {request.headers['Authorization']}")
        if path == "/api/repos/create":
            return 200, {"url": f"{url}/org/name", "name": "org/name"}
        if path.endswith("/preupload/main"):
            files = [each["path"] for each in json.loads(body)["files"]]
            modes = [{"path": name, "uploadMode": "regular"} for name in files]
            return 200, {"files": [mode | {"shouldIgnore": False} for mode in modes]}
        if path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    value = line["value"]
                    uploaded[value["path"]] = base64.b64decode(value["content"])
            oid = "c" * 40
            return 200, {"commitUrl": f"{url}/org/name/commit/{oid}", "commitOid": oid}
        return 200, {}

    with serving(answer) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        _create_repository("org/name")
        _upload(tmp_path, "org/name")
    assert uploaded == {"config.json": b"{}", "README.md": b"# card"}
    commits = [line for line in asked if "/commit/" in line]
    assert commits == ["POST /api/models/org/name/commit/main Bearer hf_secret"]
