"""Adapters that are kept apart: the same model as merged ones make, over two iterations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from lidr.components.shared.config.training import Lora
from lidr.components.shared.core.errors import (
    BadInput,
    CorruptStage,
    StoreError,
    TrainingFailed,
)
from lidr.components.shared.forward.loading import load_model
from lidr.components.shared.models.sources import (
    ModelFiles,
    adapter_uri,
    base_stage,
    model_config,
    model_files,
    model_uri,
)
from lidr.components.shared.store.stage import open_stage
from lidr.components.train.export.adapter import joined, read_adapter, write_adapter
from lidr.components.train.forward.lora import add_adapters
from lidr.components.train.run import train
from tests.disks import small_disk
from tests.models import tiny_model
from tests.unit.shared.engines.cases import lively_adapter
from tests.unit.train.stages import launch, model_stage, pair_stage, preference, recipe

PAIRS = [preference(number) for number in range(12)]


def two_iterations(root: Path, **lora: object) -> list[str]:
    """Return the URIs of M_1 and M_2."""
    world = model_stage(root)
    given: dict[str, Any] = {
        "recipe": recipe(lora={"rank": 4, **lora}, batch_size=4),
        "launch": launch(),
        "store": str(root),
        "inputs": world,
        "pairs": pair_stage(root, PAIRS),
    }
    first = train(**given, model=world, iteration=1)
    return [first, train(**given, model=first, iteration=2)]


def state(uri: str) -> dict[str, torch.Tensor]:
    return load_model(model_files(uri)).state_dict()


def test_two_iterations_give_the_model_that_merging_gives(tmp_path: Path):
    targets = ["q_proj", "down_proj"]
    apart = two_iterations(tmp_path / "apart", targets=targets, merge=False)
    merged = two_iterations(tmp_path / "merged", targets=targets)
    start = state(model_stage(tmp_path / "merged"))
    for kept, whole in zip(apart, merged, strict=True):
        found, expected = state(kept), state(whole)
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-5)
        moved = {name for name in found if not torch.equal(found[name], start[name])}
        assert {name.split(".")[-2] for name in moved} == set(targets)
        counts = [open_stage(uri).counts()["changed_share"] for uri in (kept, whole)]
        assert 0 < counts[1] <= counts[0] + 1e-6
    files = open_stage(apart[1]).files()
    assert "adapter/adapter_model.safetensors" in files
    assert not [name for name in files if name.startswith("model/")]
    assert json.loads(open_stage(apart[1]).read("adapter/adapter_config.json"))["r"] == 8


def test_the_stage_names_the_weights_that_its_adapter_is_for(tmp_path: Path):
    apart = two_iterations(tmp_path, merge=False)
    world = model_stage(tmp_path)
    for uri in apart:
        assert base_stage(uri) == world
        assert model_uri(uri) == f"{world}/model"
        assert adapter_uri(uri) == f"{uri}/adapter"
        assert model_files(uri).folder == Path(world) / "model"
        assert model_config(uri) == model_config(world)
    assert adapter_uri(world) == ""
    (Path(apart[1]) / "adapter/adapter_model.safetensors").write_bytes(b"damage")
    with pytest.raises(CorruptStage):
        model_files(apart[1])


def test_layers_that_one_of_two_adapters_lacks_get_nothing_from_it(tmp_path: Path):
    folder = tiny_model(tmp_path / "base")
    start = lively_adapter(tmp_path / "start", folder)
    model = add_adapters(load_model(ModelFiles(folder)), Lora(rank=2, targets=("gate_proj",)), 1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    write_adapter(model, start, tmp_path / "sum")
    both = read_adapter(tmp_path / "sum")
    old = read_adapter(start)
    assert both.rank == old.rank + 2
    name = "model.layers.0.self_attn.q_proj"
    factors, before = both.layers[name], old.layers[name]
    torch.testing.assert_close(factors.up @ factors.down, before.up @ before.down)
    assert "gate_proj" in both.targets > old.targets
    assert joined(old, old).rank == 2 * old.rank


def test_an_adapter_that_does_nothing_or_is_not_finite_is_refused(tmp_path: Path):
    model = add_adapters(load_model(ModelFiles(tiny_model(tmp_path / "base"))), Lora(rank=2), 1)
    with pytest.raises(TrainingFailed, match="changed no weight"):
        write_adapter(model, None, tmp_path / "out")
    parameter = next(part for name, part in model.named_parameters() if "lora_B" in name)
    torch.nn.init.constant_(parameter, float("nan"))
    with pytest.raises(TrainingFailed, match="not finite"):
        write_adapter(model, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapter_names_a_disk_that_is_too_full(tmp_path: Path):
    model = add_adapters(load_model(ModelFiles(tiny_model(tmp_path / "base"))), Lora(rank=8), 1)
    for name, part in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(part)
    with (
        small_disk("16k") as disk,
        pytest.raises(StoreError, match=r"too full for the adapter.*TMPDIR"),
    ):
        write_adapter(model, None, disk)


@pytest.mark.parametrize(("key", "value"), [("use_dora", True), ("bias", "all")])
def test_a_start_that_cannot_be_added_to_is_refused(tmp_path: Path, key: str, value: object):
    folder = lively_adapter(tmp_path / "start", tiny_model(tmp_path / "base"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, key: value}))
    with pytest.raises(BadInput, match=f"has {key} .* Set training.lora.merge to true"):
        read_adapter(folder)


def test_a_rank_stabilised_scale_is_in_the_factors(tmp_path: Path):
    folder = lively_adapter(tmp_path / "start", tiny_model(tmp_path / "base"))
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True}))
    raw = load_file(folder / "adapter_model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    scale = config["lora_alpha"] / config["r"] ** 0.5
    expected = raw[f"base_model.model.{name}.lora_B.weight"] * scale
    torch.testing.assert_close(read_adapter(folder).layers[name].up, expected)


def test_merge_false_needs_adapters():
    with pytest.raises(ValidationError, match="merge false needs a rank"):
        Lora(merge=False)
