from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lidr.components.shared.config.training import Lora
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.forward.loading import load_model
from lidr.components.shared.models.adapters import adapter_layers, skeleton
from lidr.components.shared.models.sources import ModelFiles, model_files
from lidr.components.shared.store.stage import open_stage
from lidr.components.train.run import train
from tests.models import tiny_model
from tests.unit.shared.engines.cases import lively_adapter
from tests.unit.train.models import FLAT, random_model
from tests.unit.train.stages import launch, model_stage, pair_stage, preference, recipe
from tests.unit.train.test_run import killed, untimed, weights

PAIRS = [preference(number) for number in range(12)]


def arguments(
    root: Path,
    lora: dict[str, object],
    *,
    machine: dict[str, object] | None = None,
    **training: object,
) -> dict[str, object]:
    world = model_stage(root)
    return {
        "recipe": recipe(lora=lora, batch_size=4, **training),
        "launch": launch(**machine or {}),
        "store": str(root),
        "inputs": world,
        "pairs": pair_stage(root, PAIRS),
        "model": world,
        "iteration": 1,
    }


def test_adapters_are_merged_and_change_their_targets_only(tmp_path: Path):
    given = arguments(tmp_path, {"rank": 4, "targets": ["q_proj", "v_proj"]}, epochs=3)
    uri = train(**given)
    before, after = weights(given["inputs"]), weights(uri)
    assert before.keys() == after.keys()
    changed = {name.split(".")[-2] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"q_proj", "v_proj"}
    assert not list(model_files(uri).folder.glob("adapter*"))
    rows = [json.loads(line) for line in open_stage(uri).read("metrics.jsonl").splitlines()]
    assert rows[0]["dpo_loss"] == pytest.approx(0.693147, abs=1e-6)  # adapters start at nothing
    assert rows[-1]["nll_loss"] < rows[0]["nll_loss"]


def test_without_targets_every_linear_layer_but_the_head_is_adapted(tmp_path: Path):
    given = arguments(tmp_path, {"rank": 2, "dropout": 0.1})
    before, after = weights(given["inputs"]), weights(train(**given))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if "norm" in name or "embed" in name or "head" in name}


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lora = {"rank": 2, "dropout": 0.2}
    given = arguments(tmp_path, lora, machine={"checkpoint_steps": 1})
    assert "progress" in killed(given, uploads=7)  # a checkpoint is 6 uploads
    uri = train(**given)
    assert "checkpoint of step 1" in capsys.readouterr().err
    undisturbed = train(**arguments(tmp_path / "other", lora, machine={"checkpoint_steps": 1}))
    for name in open_stage(uri).files(prefix="model/"):
        assert open_stage(uri).read(name) == open_stage(undisturbed).read(name), name
    assert untimed(uri) == untimed(undisturbed)


@pytest.mark.parametrize(("target", "words"), [("q_poj", "q_poj cannot"), ("lm_head", "the head")])
def test_targets_that_cannot_be(tmp_path: Path, target: str, words: str):
    with pytest.raises(BadInput, match=words):
        train(**arguments(tmp_path, {"rank": 2, "targets": [target]}))


@pytest.mark.parametrize(
    ("name", "lora", "words"),
    [
        ("llama, tied", {"targets": ["embed_tokens"]}, "embed_tokens, which is the head's matrix"),
        ("llama", {"targets": ["embed_tokens"], "merge": False}, "cannot be kept apart"),
        ("llama", {"targets": ["input_layernorm"]}, "no linear layer has this name"),
        ("mixtral", {"targets": ["q_proj", "w1"]}, "a mixture of experts, .* mlp get none"),
        ("qwen3 moe", {"targets": ["gate_up_proj"]}, "a mixture of experts"),
        ("qwen3 moe", {"targets": ["gate"]}, "a mixture of experts"),
    ],
)
def test_targets_whose_adapter_would_be_lost_are_refused(
    name: str, lora: dict[str, object], words: str
):
    settings = Lora(rank=2, **lora)
    for model in (random_model(FLAT[name]), skeleton(FLAT[name])):
        with pytest.raises(BadInput, match=words):
            adapter_layers(model, settings.targets, merge=settings.merge)


def test_the_work_of_a_step_knows_frozen_weights():
    from lidr.components.shared.forward.tokens import TokenPair
    from lidr.components.train.throughput import peak_flops, work_of

    model = random_model(FLAT["llama"])
    work = work_of(model)
    body = sum(each.numel() for each in model.model.layers.parameters()) + 32
    pair = TokenPair("k", "p", "es", [1] * 2, [1] * 3, [1] * 4)
    seen = 5 * 5 / 2 + 4 * 2 + 4 * 4 / 2
    assert work.flops([pair]) == 6 * (body * 9 + 61 * 32 * 7) + 3 * (4 * 2 * 4 * 8) * seen
    model.requires_grad_(False)
    assert work_of(model).passes == 2
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("Voodoo 2") == peak_flops("NVIDIA RTX A1000") == 0.0
    assert (peak_flops("NVIDIA L40"), peak_flops("NVIDIA L4")) == (181e12, 121e12)
    assert peak_flops("NVIDIA H100 PCIe") == 756e12


def test_a_model_with_an_adapter_is_trained_from_their_sum(tmp_path: Path):
    folder = tiny_model(tmp_path / "base")
    adapter = lively_adapter(tmp_path / "adapter", folder)
    plain = load_model(ModelFiles(folder)).state_dict()
    summed = load_model(ModelFiles(folder, adapter)).state_dict()
    assert summed.keys() == plain.keys()
    parts = load_file(adapter / "adapter_model.safetensors")
    layer = "model.layers.0.self_attn.q_proj"
    a, b = (parts[f"base_model.model.{layer}.lora_{part}.weight"] for part in "AB")
    expected = plain[f"{layer}.weight"] + 16 / 8 * (b @ a)
    torch.testing.assert_close(summed[f"{layer}.weight"], expected)
    assert torch.equal(summed["model.norm.weight"], plain["model.norm.weight"])
