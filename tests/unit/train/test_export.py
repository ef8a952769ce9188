from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from components.shared.errors import TrainingFailed
from components.shared.model_checks import check_model
from components.train.export import check_export, export_model
from tests.models import tiny_model


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "start")


def loaded(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def nudged(folder: Path):
    model = loaded(folder)
    with torch.no_grad():
        model.model.norm.weight += 0.5
    return model


def test_the_files_beside_the_weights_are_the_start_models_own(start: Path, tmp_path: Path):
    changed = export_model(nudged(start), start, tmp_path / "new")
    width = loaded(start).config.hidden_size
    assert {p.name for p in (tmp_path / "new").iterdir()} == {p.name for p in start.iterdir()}
    for path in start.iterdir():
        same = path.read_bytes() == (tmp_path / "new" / path.name).read_bytes()
        assert same == (path.suffix != ".safetensors")
    check_model(tmp_path / "new")
    assert changed == pytest.approx(width / loaded(start).num_parameters())


def test_a_start_model_of_mixed_dtypes_keeps_them(start: Path, tmp_path: Path):
    mixed = {k: t.bfloat16() if "mlp" in k else t for k, t in loaded(start).state_dict().items()}
    del mixed["lm_head.weight"]  # tied
    save_file(mixed, start / "model.safetensors", metadata={"format": "pt"})
    export_model(nudged(start), start, tmp_path / "new")
    new = load_file(tmp_path / "new/model.safetensors")
    assert {k: t.dtype for k, t in new.items()} == {k: t.dtype for k, t in mixed.items()}


def test_a_sharded_start_model(start: Path, tmp_path: Path):
    sharded = tmp_path / "sharded"
    loaded(start).save_pretrained(sharded, max_shard_size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 1
    export_model(nudged(start), sharded, tmp_path / "new")
    with pytest.raises(TrainingFailed, match="no weight"):
        check_export(start, sharded, {"lm_head.weight"})


def test_an_unchanged_model_is_refused(start: Path, tmp_path: Path):
    with pytest.raises(TrainingFailed, match="changed no weight"):
        export_model(loaded(start), start, tmp_path / "new")


def test_values_that_are_not_finite_are_refused(start: Path, tmp_path: Path):
    model = nudged(start)
    with torch.no_grad():
        model.model.norm.weight[3] = torch.inf
    with pytest.raises(TrainingFailed, match=r"model\.norm\.weight holds values"):
        export_model(model, start, tmp_path / "new")


@pytest.mark.parametrize("change", ["missing", "misshapen"])
def test_other_tensors_are_refused(start: Path, tmp_path: Path, change: str):
    export_model(nudged(start), start, tmp_path / "new")
    file = tmp_path / "new/model.safetensors"
    tensors = load_file(file)
    norm = tensors.pop("model.norm.weight")
    if change == "misshapen":
        tensors["model.norm.weight"] = norm[:-1].clone()
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(TrainingFailed, match=r"model\.norm\.weight"):
        check_export(start, tmp_path / "new", set())
