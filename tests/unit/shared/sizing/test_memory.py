"""Memory and arithmetic by formula, against real models and a real training run."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MixtralConfig,
    PhiConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from lidr.components.shared.config.machine import TrainingSettings
from lidr.components.shared.config.profile import Zero
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.training import Lora, Training
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.forward import head
from lidr.components.shared.forward.batches import MIN_MICRO_BATCH_TOKENS, flat_batch
from lidr.components.shared.forward.scoring import install_scoring, score
from lidr.components.shared.forward.tokens import TokenPair
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.sizing import memory
from lidr.components.shared.sizing.activations import (
    BLOCK_LOGITS,
    MIN_TILE_ROWS,
    TILE_LOGITS,
    activation_bytes,
)
from lidr.components.shared.sizing.architecture import read_architecture
from lidr.components.shared.sizing.flops import reference_flops, step_flops
from lidr.components.shared.sizing.memory import GIB, MemoryPlan, plan_for, usable_bytes
from lidr.components.shared.sizing.remedies import smaller_batch
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import new_stage
from lidr.components.train.forward.lora import add_adapters
from lidr.components.train.job import TrainingJob
from lidr.components.train.launch.fit import plan_of, require_fit
from lidr.components.train.throughput import work_of
from tests.models import tiny_model
from tests.unit.train.distributed.programs import environment, torchrun
from tests.unit.train.stages import pair_stage, preference, recipe

SIZES = {
    "vocab_size": 500,
    "hidden_size": 96,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

PROGRAM = "tests.unit.shared.sizing.training_memory"

CONFIGS: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES),
    "llama, tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "llama, biases": LlamaConfig(**SIZES, attention_bias=True, mlp_bias=True),
    "llama, head_dim": LlamaConfig(**SIZES, head_dim=24),
    "mistral": MistralConfig(**SIZES),
    "mistral, no groups": MistralConfig(**{**SIZES, "num_key_value_heads": 6}),
    "qwen2": Qwen2Config(**SIZES),
    "qwen2, tied": Qwen2Config(**SIZES, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SIZES, head_dim=32),
    "qwen3, biases": Qwen3Config(**SIZES, attention_bias=True),
    "gemma": GemmaConfig(**SIZES, head_dim=32),
    "gemma, defaults": GemmaConfig(**SIZES),
    "gemma2": Gemma2Config(**SIZES, head_dim=32),
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=32),
}

LLAMA_8B = {
    "model_type": "llama",
    "vocab_size": 128256,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


def written(config: PretrainedConfig, folder: Path) -> dict:
    """Return what a model folder's config.json says."""
    config.save_pretrained(folder)
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_those_of_the_real_model(name: str, tmp_path: Path):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name]))
    assert read_architecture(written(CONFIGS[name], tmp_path)).parameters == model.num_parameters()


def test_parameters_of_a_known_model():
    assert read_architecture(LLAMA_8B).parameters == 8_030_261_248


def test_of_a_model_that_reads_images_the_text_model_is_counted():
    """The 4B model's own file leaves out what transformers knows of the family."""
    text = {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    inner = {"model_type": "gemma3_text", **text}
    shape = read_architecture({"model_type": "gemma3", "text_config": inner})
    assert shape == read_architecture(Gemma3TextConfig(**text, vocab_size=262_208).to_dict())


def test_parameters_of_adapters():
    config = CONFIGS["qwen2"]
    model = add_adapters(AutoModelForCausalLM.from_config(config), Lora(rank=5), 0)
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    assert read_architecture(config.to_dict()).lora_parameters(5) == trained


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MixtralConfig(num_local_experts=4), "mixture of experts 'mixtral'"),
        (Qwen3MoeConfig(num_experts=4), "mixture of experts 'qwen3_moe'"),
        (PhiConfig(), "model_type 'phi'; known are llama"),
    ],
)
def test_what_cannot_be_counted_is_refused(config: PretrainedConfig, message: str):
    with pytest.raises(BadInput, match=message):
        read_architecture(config.to_dict())


def test_a_key_that_is_missing_is_named():
    with pytest.raises(BadInput, match=r"config\.json has no 'hidden_size'"):
        read_architecture({key: value for key, value in LLAMA_8B.items() if key != "hidden_size"})


def saved_bytes(model: torch.nn.Module, pairs: list[TokenPair], autocast: bool) -> int:
    """Return the bytes that a forward pass keeps, each storage once, weights apart."""
    layout = install_scoring(model, pairs)
    assert layout is flat_batch
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast),
    ):
        score(model, layout(pairs, torch.device("cpu")))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "mistral, no groups", "gemma"])
def test_activations_are_what_the_passes_keep(name: str, precision: str):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(CONFIGS[name]))
    model = model.bfloat16() if precision == "bfloat16" else model
    pair = TokenPair("k", "p", "en", [5] * 120, [5] * 150, [5] * 90)
    kept = saved_bytes(model.train(), [pair, pair], precision == "autocast")
    shape = read_architecture(CONFIGS[name].to_dict())
    operands = shape.operands(1 / 3, gpu=False)
    predicted = activation_bytes(shape, 2 * pair.tokens, precision, operands)
    assert kept == pytest.approx(predicted, rel=0.05)


WIDTHS = {2_000: 512, 49_000: 256, 262_000: 128}
"""Width of the models whose memory is measured, by their vocabulary: 14 to 34 million parameters,
so that weights outweigh noise."""


def big_stage(root: Path, vocabulary: int = 2_000) -> str:
    """Return a stage with a random model whose embedding has so many rows."""
    folder = tiny_model(root / "big")
    width = WIDTHS[vocabulary]
    sizes = {"hidden_size": width, "intermediate_size": width * 43 // 16, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8}
    tied = {"vocab_size": vocabulary, "tie_word_embeddings": vocabulary > 2_000}
    config = LlamaConfig(**{**SIZES, **sizes, **heads, **tied})
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    stage = new_stage(LocalStore(root), "prepare", 1, {}, {"big": True})
    for path in sorted(folder.iterdir()):
        stage.upload(f"model/{path.name}", path)
    stage.finish({})
    return stage.uri


def big_job(
    root: Path,
    zero: int = 0,
    *,
    checkpointing: bool = False,
    vocabulary: int = 2_000,
    **training: object,
) -> TrainingJob:
    texts = ["At first 4 books. " * count for count in (48, 40, 50, 42)]
    pairs = [
        preference(number, prompt="Nina has 4 books. " * 12, chosen=text, rejected=text[:-9])
        for number, text in enumerate(texts)
    ]
    start = big_stage(root, vocabulary)
    settings = Recipe.model_validate_json(
        recipe(max_length=1024, batch_size=4, epochs=2, **training)
    ).training
    return TrainingJob(
        store=str(root),
        stage="stages/train/memory",
        pairs=pair_stage(root, pairs),
        start=start,
        reference=start,
        training=settings,
        seed=0,
        machine=TrainingSettings(micro_batch_size=1, gradient_checkpointing=checkpointing),
        zero=Zero(stage=zero),
    )


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no peak memory to reset")
@pytest.mark.parametrize(
    ("ranks", "training"),
    [
        (2, {"zero": 3}),
        pytest.param(1, {}, marks=pytest.mark.long),
        pytest.param(1, {"lora": {"rank": 8}}, marks=pytest.mark.long),
        pytest.param(1, {"checkpointing": True}, marks=pytest.mark.long),
        pytest.param(2, {"zero": 2}, marks=pytest.mark.long),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "vocabulary",
    [2_000, *(pytest.param(size, marks=pytest.mark.long) for size in WIDTHS if size > 2_000)],
)
def test_peak_memory_is_that_of_a_real_run(
    tmp_path: Path, ranks: int, training: dict, vocabulary: int
):
    """Several micro-batches a step: the second one's activations meet the first one's gradients."""
    job = big_job(tmp_path, **training, vocabulary=vocabulary)
    file = tmp_path / "job.json"
    file.write_text(job.model_dump_json())
    # Freed memory goes back to the system at once, so that the peak is what is in use.
    sizes = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    launcher = torchrun("--standalone", "--nproc-per-node", str(ranks))
    done = subprocess.run(
        [*(launcher if ranks > 1 else [sys.executable]), "-m", PROGRAM, str(file)],
        env=environment(PYTHON_EXEC=sys.executable, **sizes),  # ranks begin with such sizes
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(next(line for line in done.stdout.splitlines() if '"peak"' in line))
    planned = replace(
        plan_of(job, Launch(processes=ranks, zero=job.zero, **job.machine.model_dump())),
        tokens=found["tokens"],
        prompt_share=found["prompt_share"],
        gpu=False,
        bfloat16=False,
    )
    ratio = planned.memory().peak / found["peak"]
    print(vocabulary, training, found, planned.memory(), f"{ratio:.3f}")
    assert planned.memory().peak == pytest.approx(found["peak"], rel=0.15)


def plan_8b(**settings: object) -> MemoryPlan:
    return MemoryPlan(read_architecture(LLAMA_8B), tokens=4096, **settings)


def test_zero_shards_what_it_says():
    parameters = 8_030_261_248
    whole = plan_8b().memory()
    first, second, third = (
        plan_8b(ranks_per_node=8, zero=Zero(stage=stage)).memory() for stage in (1, 2, 3)
    )
    assert whole.optimizer == 8 * parameters
    assert plan_8b(ranks_per_node=8).memory() == first
    assert first.optimizer == second.optimizer == third.optimizer == parameters
    assert first.weights == second.weights == 2 * parameters + parameters // 2
    assert first.gradients - second.gradients == 2 * parameters - 2 * parameters // 8
    assert third.weights < second.weights / 2
    assert whole.peak > first.peak > second.peak > third.peak


def test_offload_moves_to_the_host():
    device = plan_8b(ranks_per_node=8, zero=Zero(stage=3)).memory()
    optimizer = plan_8b(ranks_per_node=8, zero=Zero(stage=3, offload="optimizer")).memory()
    everything = plan_8b(ranks_per_node=8, zero=Zero(stage=3, offload="all")).memory()
    assert device.host == 0 < optimizer.host < everything.host
    assert device.peak > optimizer.peak > everything.peak
    assert optimizer.optimizer == everything.optimizer == 0


def test_the_known_size_of_8b_on_one_gpu():
    """16 bytes a parameter in float32 with Adam, before any activation: 120 GiB."""
    memory = plan_8b().memory()
    assert memory.weights + memory.gradients + memory.optimizer == 16 * 8_030_261_248
    assert not plan_8b().fits(80 * GIB)
    assert plan_8b(lora_rank=16).fits(80 * GIB)


def test_the_nearest_plan_changes_as_little_as_it_can():
    memory = 64 * GIB
    eight = plan_8b(ranks_per_node=8)
    nearest = eight.nearest_fit(memory)
    assert nearest is not None and nearest.fits(memory)
    assert eight.changes_to(nearest) == ["training.zero.stage=2"]
    assert eight.nearest_fit(4 * GIB) is None
    small = eight.nearest_fit(24 * GIB)
    assert small is not None and small.fits(24 * GIB)
    assert small.nodes == 1 and small.zero.offload != "none"


def test_a_plan_that_fits_is_its_own_nearest():
    fitting = plan_8b(ranks_per_node=8, zero=Zero(stage=3))
    assert fitting.nearest_fit(79 * GIB) == fitting


def test_the_head_exists_in_tiles():
    assert (TILE_LOGITS, MIN_TILE_ROWS, BLOCK_LOGITS, memory.MIN_MICRO_BATCH_TOKENS) == (
        head.TILE_LOGITS,
        head.MIN_TILE_ROWS,
        head.BLOCK_LOGITS,
        MIN_MICRO_BATCH_TOKENS,
    )


@pytest.mark.parametrize("lora", [False, True])
def test_flops_are_those_that_mfu_is_reckoned_with(lora: bool):
    config = CONFIGS["llama"]
    model = AutoModelForCausalLM.from_config(copy.deepcopy(config))
    for parameter in model.parameters():
        parameter.requires_grad_(not lora)
    pair = TokenPair("k", "p", "en", [5], [5] * 2000, [5] * 2000)
    work = work_of(model)
    assert work is not None
    shape = read_architecture(config.to_dict())
    own = step_flops(shape, pair.tokens, 2000, 4000, lora=lora)
    assert own == pytest.approx(work.flops([pair]), rel=0.01)
    assert step_flops(shape, 4000, 2000, 4000, checkpointing=True) > 1.2 * own / (1 + lora)
    assert reference_flops(shape, 4000, 2000, 4000) < own


def fit(root: Path, monkeypatch: pytest.MonkeyPatch, **launch: object) -> None:
    monkeypatch.setattr("lidr.components.train.launch.fit.model_config", lambda uri: LLAMA_8B)
    require_fit(big_free_job(root), Launch(launcher="trainjob", **launch))


def big_free_job(root: Path) -> TrainingJob:
    settings = Recipe.model_validate_json(recipe(max_length=2048)).training
    return TrainingJob(
        store=str(root),
        stage="stages/train/x",
        pairs="",
        start="",
        reference="",
        training=settings.model_copy(update={"precision": "auto"}),
        seed=0,
    )


def test_what_cannot_fit_is_refused_with_what_can(tmp_path: Path, monkeypatch, capsys):
    with pytest.raises(BadInput, match=r"Set training\.zero\.stage=2, which needs .*\)\.$"):
        fit(tmp_path, monkeypatch, gpu_memory_gib=64, processes=8)
    with pytest.raises(BadInput, match=r"Set .*=all.* needs .* 16\.8 GiB of its node's memory"):
        fit(tmp_path, monkeypatch, gpu_memory_gib=8.5, processes=8)
    with pytest.raises(BadInput, match=r"GiB leaves .*\. Set training\.max_length below 2048,"):
        fit(tmp_path, monkeypatch, gpu_memory_gib=6, processes=8)
    with pytest.raises(BadInput, match=r"4 GiB leaves 2\.3\. Choose accelerators with more"):
        fit(tmp_path, monkeypatch, gpu_memory_gib=4, processes=8)
    fit(tmp_path, monkeypatch, gpu_memory_gib=64, processes=8, zero=Zero(stage=2))
    assert "each rank needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("max_length", "tokens", "context", "smaller"),
    [
        (2048, 0, None, {"max_length": 2048}),
        (1024, 0, None, {"max_length": 1024, "micro_batch_tokens": 2048}),
        (512, 0, None, {"micro_batch_tokens": 2048}),
        (4096, 6000, 1024, {"micro_batch_tokens": 6000}),
        (4096, 1000, 1024, {"max_length": 1024}),
    ],
)
def test_a_smaller_batch_comes_from_the_settings_that_bound_it(
    max_length: int, tokens: int, context: int | None, smaller: dict[str, int]
):
    config = {**LLAMA_8B, "max_position_embeddings": context}
    given = {"max_length": max_length, "micro_batch_tokens": tokens}

    def plan(settings: dict[str, int]) -> tuple[dict, Training, Launch]:
        launch = Launch(micro_batch_tokens=settings["micro_batch_tokens"])
        return config, Training(max_length=settings["max_length"]), launch

    said = smaller_batch(*plan(given)).replace(" in the profile", "")
    assert said == " and ".join(f"training.{key} below {most}" for key, most in smaller.items())
    below = {key: most - 1 for key, most in smaller.items()}
    assert plan_for(*plan(given | below)).tokens < plan_for(*plan(given)).tokens


def test_an_unknown_accelerator_is_not_checked(tmp_path: Path, monkeypatch):
    fit(tmp_path, monkeypatch)


def test_config_json_is_read_from_the_stage(tmp_path: Path):
    assert plan_of(big_job(tmp_path), Launch()).architecture.hidden == 512


def test_usable_memory_leaves_room():
    assert usable_bytes(80 * GIB) == pytest.approx(74.5 * GIB)
