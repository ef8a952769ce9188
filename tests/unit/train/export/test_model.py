from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lidr.components.shared.core.errors import StoreError, TrainingFailed
from lidr.components.shared.models.admission import check_model
from lidr.components.train.export.model import Export
from lidr.components.train.export.precision import Exported, Rounding
from lidr.components.train.export.tensors import tensor_files, tensor_headers
from tests.disks import small_disk
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


def export(
    model, start: Path, folder: Path, shard_bytes: int = 1 << 30, setting: str = "auto"
) -> Exported:
    folder.mkdir()
    parts = folder.parent / "parts"
    types = {kind for kind, _ in tensor_headers(tensor_files(start)).values()}
    rounding = Rounding.of(setting, torch.float32, types, seed=1)
    exported = Export(model, start, parts, shard_bytes, rounding).run(
        lambda path: (folder / path.name).write_bytes(path.read_bytes())
    )
    assert list(parts.iterdir()) == []  # each file was delivered and is gone
    return exported


def test_the_files_beside_the_weights_are_the_start_models_own(start: Path, tmp_path: Path):
    exported = export(nudged(start), start, tmp_path / "new")
    width = loaded(start).config.hidden_size
    assert {p.name for p in (tmp_path / "new").iterdir()} == {p.name for p in start.iterdir()}
    for path in start.iterdir():
        same = path.read_bytes() == (tmp_path / "new" / path.name).read_bytes()
        assert same == (path.suffix != ".safetensors")
    check_model(tmp_path / "new")
    assert exported.changed == pytest.approx(width / loaded(start).num_parameters())
    assert (exported.kept, exported.file) == (1.0, "float32")


@pytest.mark.parametrize(("setting", "kept"), [("bfloat16", True), ("auto", False)])
def test_a_start_model_of_mixed_dtypes_keeps_them_or_becomes_float32(
    start: Path, tmp_path: Path, setting: str, kept: bool
):
    mixed = {k: t.bfloat16() if "mlp" in k else t for k, t in loaded(start).state_dict().items()}
    del mixed["lm_head.weight"]  # tied
    save_file(mixed, start / "model.safetensors", metadata={"format": "pt"})
    export(nudged(start), start, tmp_path / "new", setting=setting)
    new = load_file(tmp_path / "new/model.safetensors")
    kinds = {k: t.dtype if kept else torch.float32 for k, t in mixed.items()}
    assert {k: t.dtype for k, t in new.items()} == kinds


def test_several_files_with_an_index(start: Path, tmp_path: Path):
    model = nudged(start)
    export(model, start, tmp_path / "new", shard_bytes=60_000)
    files = sorted((tmp_path / "new").glob("*.safetensors"))
    assert len(files) > 2
    largest = max(tensor.nbytes for tensor in model.state_dict().values())
    assert all(path.stat().st_size < max(60_000, largest) + 3_000 for path in files)
    again = loaded(tmp_path / "new").state_dict()
    assert all(torch.equal(again[name], t) for name, t in model.state_dict().items())
    export(nudged(tmp_path / "new"), tmp_path / "new", tmp_path / "next")  # and back into one
    assert (tmp_path / "next/model.safetensors").is_file()


@pytest.mark.parametrize(("size", "file"), [("16k", "model-00001"), ("2M", "vocabulary.json")])
def test_export_names_a_disk_that_is_too_full(start: Path, size: str, file: str):
    (start / "vocabulary.json").write_text("x" * (4 << 20))
    rounding = Rounding.of("auto", torch.float32, {torch.float32}, seed=1)
    with small_disk(size) as disk:
        exporter = Export(nudged(start), start, disk, 60_000, rounding)
        with pytest.raises(StoreError, match=rf"too full for the model's {file}.*TMPDIR"):
            exporter.run(lambda path: None)


def test_an_unchanged_model_is_refused(start: Path, tmp_path: Path):
    with pytest.raises(TrainingFailed, match="changed no weight"):
        export(loaded(start), start, tmp_path / "new")


def test_values_that_are_not_finite_are_refused(start: Path, tmp_path: Path):
    model = nudged(start)
    with torch.no_grad():
        model.model.norm.weight[3] = torch.inf
    with pytest.raises(TrainingFailed, match=r"model\.norm\.weight holds values"):
        export(model, start, tmp_path / "new")


@pytest.mark.parametrize("change", ["missing", "added", "misshapen"])
def test_other_tensors_are_refused(start: Path, tmp_path: Path, change: str):
    model = nudged(start)
    tensors = load_file(start / "model.safetensors")
    norm = tensors.pop("model.norm.weight")
    if change == "misshapen":
        tensors["model.norm.weight"] = norm[:-1].clone()
    elif change == "missing":
        tensors |= {"model.norm.weight": norm, "model.norm.weight.more": norm.clone()}
    save_file(tensors, start / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TrainingFailed, match=r"model\.norm\.weight"):
        export(model, start, tmp_path / "new")
