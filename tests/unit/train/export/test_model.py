from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Qwen3_5Config, Qwen3_5ForConditionalGeneration

from lidr.components.shared.config.training import Lora
from lidr.components.shared.core.errors import BadInput, LidrError, StoreError, TrainingFailed
from lidr.components.shared.forward.loading import load_model
from lidr.components.shared.models.admission import check_model
from lidr.components.shared.models.sources import ModelFiles
from lidr.components.shared.models.weights import INDEX
from lidr.components.train.export.model import Export, check_names
from lidr.components.train.export.precision import Exported, Rounding
from lidr.components.train.export.tensors import _TYPES, tensor_files, tensor_headers
from lidr.components.train.forward.lora import add_adapters
from tests.disks import small_disk
from tests.models import shaped_model, tiny_model
from tests.shapes import SHAPES, gemma3_with_images, shaped_tokenizer, write_model
from tests.unit.train.models import FLAT


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


@pytest.mark.parametrize("name", [*_TYPES])
def test_headers_name_the_type_of_each_tensor(tmp_path: Path, name: str):
    kind = _TYPES[name]
    save_file({"a": torch.zeros(2, 3).to(kind)}, tmp_path / "model.safetensors")
    assert tensor_headers(tensor_files(tmp_path)) == {"a": (kind, 6)}


def test_headers_of_a_type_that_torch_lacks_are_refused(tmp_path: Path):
    part = {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}
    header = json.dumps({"scale": part}).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(BadInput, match="tensor scale is of type F8_E8M0") as refused:
        tensor_headers(tensor_files(tmp_path))
    assert refused.value.file == str(file)


def test_headers_are_those_of_the_file_that_the_index_names(tmp_path: Path):
    save_file({"a": torch.zeros(2)}, tmp_path / "m1.safetensors")
    wide = {"a": torch.zeros(5).bfloat16(), "b": torch.zeros(3)}
    save_file(wide, tmp_path / "m2.safetensors")
    index = {"weight_map": {"a": "m1.safetensors", "b": "m2.safetensors"}}
    (tmp_path / INDEX).write_text(json.dumps(index))
    assert tensor_headers(tensor_files(tmp_path)) == {
        "a": (torch.float32, 2),
        "b": (torch.float32, 3),
    }


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


def add_tensors(folder: Path, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """Add tensors to the one weight file of a model, with `__` in place of dots; return all."""
    file = folder / "model.safetensors"
    tensors = load_file(file) | {name.replace("__", "."): each for name, each in more.items()}
    save_file(tensors, file, metadata={"format": "pt"})
    return tensors


def qwen35(folder: Path) -> Path:
    """Write a Qwen 3.5 that reads images, of which transformers only loads the text model."""
    text = {
        "vocab_size": 61,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "layer_types": ["linear_attention", "full_attention"],
        **dict.fromkeys(("linear_num_value_heads", "linear_num_key_heads"), 2),
        **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 8),
    }
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2}
    vision |= {"out_hidden_size": 32, "num_position_embeddings": 16}
    config = Qwen3_5Config(text_config=text, vision_config=vision)
    Qwen3_5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("setting", ["float32", "bfloat16"])
@pytest.mark.parametrize("make", [tiny_model, qwen35])
def test_tensors_that_transformers_does_not_read_stay_as_they_are(
    tmp_path: Path, make: Callable[[Path], Path], setting: str
):
    start = make(tmp_path / "start")
    before = add_tensors(
        start,
        mtp__layers__0__mlp__down_proj__weight=torch.randn(4, 4),
        model__layers__0__self_attn__rotary_emb__inv_freq=torch.rand(8) / 3,  # not in bfloat16
    )
    model = nudged(start)
    check_names(model, start, merged=False)
    export(model, start, tmp_path / "new", setting=setting)
    after = load_file(tmp_path / "new/model.safetensors")
    assert after.keys() == before.keys()
    unread = {name for name in before if re.search(r"mtp|inv_freq|visual", name)}
    assert len(unread) > (10 if make is qwen35 else 1)
    for name in unread:
        assert torch.equal(after[name], before[name]), name
        assert after[name].dtype is before[name].dtype
    [norm] = [name for name in before if name.endswith("model.norm.weight")]
    assert not torch.equal(after[norm].float(), before[norm])
    assert {after[name].dtype for name in before.keys() - unread} == {getattr(torch, setting)}
    load_model(ModelFiles(tmp_path / "new"), torch.float32)


def test_experts_that_an_adapter_leaves_alone_are_rounded_like_the_others(tmp_path: Path):
    start = shaped_model(tmp_path / "start", FLAT["qwen3 moe"])
    before = add_tensors(start, mtp__norm__weight=torch.rand(4) / 3)
    assert any("experts.3." in name for name in before)
    model = add_adapters(loaded(start), Lora(rank=2), 1)
    with torch.no_grad():
        for layer in model.modules():
            if hasattr(layer, "lora_B"):
                layer.lora_B["default"].weight += 0.01
    export(model, start, tmp_path / "new", setting="bfloat16")
    after = load_file(tmp_path / "new/model.safetensors")
    assert after.keys() == before.keys()
    kept = torch.equal(after["mtp.norm.weight"], before["mtp.norm.weight"])
    assert kept and after.pop("mtp.norm.weight").dtype is torch.float32
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}


@pytest.mark.parametrize("setting", ["float32", "bfloat16"])
@pytest.mark.parametrize("form", ["weights", "lora", "renamed"])
def test_tied_weights_that_the_files_have_twice_stay_tied(tmp_path: Path, form: str, setting: str):
    if form == "renamed":
        tokenizer = shaped_tokenizer(SHAPES["gemma-3"])
        config = gemma3_with_images(len(tokenizer))
        start = write_model(tmp_path / "start", SHAPES["gemma-3"], config, tokenizer)
    else:
        start = tiny_model(tmp_path / "start")
    [name] = [name for name in load_file(start / "model.safetensors") if "embed_tokens" in name]
    before = add_tensors(
        start, lm_head__weight=load_file(start / "model.safetensors")[name].clone()
    )
    model = loaded(start)
    if form == "lora":
        model = add_adapters(model, Lora(rank=2), 1)
    changed = next(each for each in model.parameters() if each.requires_grad)
    if form != "lora":
        changed = model.get_input_embeddings().weight
    with torch.no_grad():
        changed += 0.01 * torch.randn_like(changed)
        for layer in model.modules() if form == "lora" else ():
            if hasattr(layer, "lora_B"):
                layer.lora_B["default"].weight += 0.01
    export(model, start, tmp_path / "new", setting=setting)
    after = load_file(tmp_path / "new/model.safetensors")
    assert after.keys() == before.keys()
    assert torch.equal(after["lm_head.weight"], after[name])
    assert torch.equal(after[name], before[name]) == (form == "lora" and setting == "float32")
    again = loaded(tmp_path / "new")
    assert again.lm_head.weight is again.get_input_embeddings().weight


def test_tied_weights_that_the_files_have_as_the_head_are_exported(start: Path, tmp_path: Path):
    file = start / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors.pop("model.embed_tokens.weight")
    save_file(tensors, file, metadata={"format": "pt"})
    model = loaded(start)
    with torch.no_grad():
        model.lm_head.weight += 0.5
    export(model, start, tmp_path / "new")
    after = load_file(tmp_path / "new/model.safetensors")
    assert after.keys() == tensors.keys()
    assert torch.equal(after["lm_head.weight"], tensors["lm_head.weight"] + 0.5)


def test_a_model_whose_files_lack_weights_is_refused_before_training(start: Path):
    tensors = load_file(start / "model.safetensors")
    model = nudged(start)
    del tensors["model.norm.weight"]
    save_file(tensors, start / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"lack 1 of the model's weights: model\.norm\.weight"):
        load_model(ModelFiles(start))
    with pytest.raises(
        BadInput, match=r"1 of the model.s tensors have names .*: model\.norm\.weight"
    ):
        check_names(model, start, merged=False)


@pytest.mark.parametrize(("change", "error"), [("missing", BadInput), ("cut", TrainingFailed)])
def test_other_tensors_are_refused(
    start: Path, tmp_path: Path, change: str, error: type[LidrError]
):
    model = nudged(start)
    tensors = load_file(start / "model.safetensors")
    norm = tensors.pop("model.norm.weight")
    if change == "cut":
        tensors["model.norm.weight"] = norm[:-1].clone()
    save_file(tensors, start / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(error, match=r"model\.norm\.weight"):
        export(model, start, tmp_path / "new")
