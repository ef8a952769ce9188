"""A model's own LoRA adapter: applied as PEFT applies it, or refused with what does not fit."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.engines.transformers_engine import TransformersEngine, merge_adapter
from lidr.components.shared.models.adapters import CONFIG, WEIGHTS
from lidr.components.shared.models.admission import Admission, ModelCandidate, admit
from tests.fakes import make_recipe
from tests.models import shaped_model
from tests.unit.train.models import FLAT

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {"target_modules": ["q_proj", "down_proj"]}),
    "every layer": ("llama, tied", {"target_modules": "all-linear"}),
    "rank stabilised": ("llama", {"target_modules": ["q_proj"], "use_rslora": True}),
    "ranks by layer": (
        "llama",
        {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 2}},
    ),
    "dora": ("llama", {"target_modules": ["q_proj"], "use_dora": True}),
    "embedding": ("llama", {"target_modules": ["embed_tokens", "q_proj"]}),
    "whole head": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}),
    "some tokens": (
        "llama",
        {"target_modules": ["q_proj"], "trainable_token_indices": {"embed_tokens": [3, 5]}},
    ),
    "attention of experts": ("mixtral", {"target_modules": ["q_proj", "v_proj"]}),
    "experts": ("mixtral", {"target_modules": ["q_proj"], "target_parameters": ["down_proj"]}),
}


def model_and_adapter(root: Path, name: str, settings: dict[str, Any]) -> tuple[Path, Path]:
    """Write a random model and an adapter of it that changes what it says."""
    folder = shaped_model(root / "model", FLAT[name])
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(5)
        adapted = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM", **settings))
        for key, each in adapted.named_parameters():
            if each.requires_grad and "magnitude" not in key:
                torch.nn.init.normal_(each, std=0.2)
        adapted.save_pretrained(root / "adapter")
    return folder, root / "adapter"


def admission(folder: Path, adapter: Path | None, **recipe: Any) -> Admission:
    return admit(ModelCandidate(make_recipe(**recipe), folder, None, adapter))


def decided(found: Admission, name: str) -> str:
    return next(each.decision for each in found.findings if each.property == name)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_an_admitted_adapter_changes_logits_as_peft_alone_does(tmp_path: Path, kind: str):
    folder, adapter = model_and_adapter(tmp_path, *KINDS[kind])
    found = admission(folder, adapter)
    found.require()
    assert "fits" in decided(found, "adapter")
    ids = torch.arange(3, 23)[None]
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    without = base(ids).logits
    ours = merge_adapter(base, adapter).eval()(ids).logits
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    alone = PeftModel.from_pretrained(again, adapter).eval()(ids).logits
    assert (alone - without).abs().max() > 1e-3
    torch.testing.assert_close(ours, alone, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_adapter_in_bfloat16_stands_beside_the_weights_as_peft_has_it(tmp_path: Path):
    """Merged into bfloat16 weights, most of a small update would be rounded away."""
    folder, adapter = model_and_adapter(tmp_path, "llama", {"target_modules": ["q_proj"]})
    engine = TransformersEngine(
        folder, dtype="bfloat16", max_length=0, batch_tokens=100, adapter=adapter
    )
    ids = torch.arange(3, 23)[None]
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    alone = PeftModel.from_pretrained(base, adapter).eval()(ids).logits
    assert torch.equal(engine._model(ids).logits, alone)


def rename(change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(adapter: Path) -> None:
        tensors = load_file(adapter / WEIGHTS)
        named = {change(key): tensor for key, tensor in tensors.items()}
        save_file(named, adapter / WEIGHTS, metadata={"format": "pt"})

    return apply


def cut(adapter: Path) -> None:
    tensors = {key: each[:, :16].contiguous() for key, each in load_file(adapter / WEIGHTS).items()}
    save_file(tensors, adapter / WEIGHTS, metadata={"format": "pt"})


def drop(adapter: Path) -> None:
    tensors = load_file(adapter / WEIGHTS)
    kept = {key: each for key, each in tensors.items() if "layers.1" not in key}
    save_file(kept, adapter / WEIGHTS, metadata={"format": "pt"})


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another prefix": (
        rename(lambda key: key.replace("model.layers", "model.language_model.layers")),
        r"4 keys missing \(.*layers\.0.*4 keys unexpected \(.*language_model",
    ),
    "no prefix": (
        rename(lambda key: key.removeprefix("base_model.model.")),
        r"keys missing .*keys unexpected",
    ),
    "a deeper model": (
        rename(lambda key: key.replace("layers.1", "layers.7")),
        r"2 keys missing \(.*layers\.1.*2 keys unexpected \(.*layers\.7",
    ),
    "a layer without": (drop, r"2 keys missing \(.*layers\.1"),
    "a narrower model": (cut, "does not fit the model: .*"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_adapter_that_does_not_fit_is_refused_with_its_keys(tmp_path: Path, fault: str):
    folder, adapter = model_and_adapter(tmp_path, "llama", {"target_modules": ["q_proj"]})
    change, words = FAULTS[fault]
    change(adapter)
    with pytest.raises(BadInput, match=words):
        admission(folder, adapter).require()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("qwen2", {"target_modules": ["q_proj"], "lora_bias": True}, "lora_bias true"),
        (
            "llama",
            {"target_modules": ["q_proj"], "alora_invocation_tokens": [3]},
            "alora_invocation_tokens",
        ),
        ("llama, tied", {"target_modules": ["embed_tokens"]}, "the head's matrix too"),
    ],
)
def test_an_adapter_that_is_no_addition_to_weights_is_refused(
    tmp_path: Path, name: str, settings: dict[str, Any], words: str
):
    folder, adapter = model_and_adapter(tmp_path, name, settings)
    with pytest.raises(BadInput, match=words):
        admission(folder, adapter).require()


@pytest.mark.parametrize("kind", ["dora", "some tokens", "whole head", "ranks by layer"])
def test_an_adapter_that_later_ones_cannot_be_added_to_is_refused_when_they_are_kept_apart(
    tmp_path: Path, kind: str
):
    folder, adapter = model_and_adapter(tmp_path, *KINDS[kind])
    settings = {"lora": {"rank": 4, "merge": False}}
    with pytest.raises(BadInput, match=r"can be stacked.*Set training\.lora\.merge to true"):
        admission(folder, adapter, training=settings).require()


def test_admission_names_the_layers_that_get_adapters(tmp_path: Path):
    folder = shaped_model(tmp_path / "model", FLAT["mixtral"])
    found = admission(folder, None, training={"lora": {"rank": 4}})
    said = "rank 4 on k_proj, o_proj, q_proj, v_proj; the experts have none"
    assert decided(found, "lora") == said
    with pytest.raises(BadInput, match="a mixture of experts"):
        admission(folder, None, training={"lora": {"rank": 4, "targets": ["w1"]}}).require()


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_a_quantised_model_is_refused_for_training_and_may_be_evaluated(
    tmp_path: Path, method: str
):
    folder = shaped_model(tmp_path / "model", FLAT["llama"])
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    for training in ({}, {"lora": {"rank": 4}}):
        with pytest.raises(BadInput, match=rf"quantised \({method}\).* Choose the model"):
            admission(folder, None, training=training).require()
    asked = admit(ModelCandidate(make_recipe(), folder, trained=False))
    asked.require()
    assert method in decided(asked, "quantisation")


def test_an_unknown_setting_of_an_adapter_is_not_passed_over(tmp_path: Path):
    folder, adapter = model_and_adapter(tmp_path, "llama", {"target_modules": ["q_proj"]})
    config = json.loads((adapter / CONFIG).read_text())
    (adapter / CONFIG).write_text(json.dumps({**config, "use_magic": True}))
    with pytest.raises(BadInput, match="an unknown setting, use_magic"):
        admission(folder, adapter).require()
