"""LoRA adapters in PEFT's form: which layers of a model may have one, and whether files fit it."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_NEUTRAL = {
    *("auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode"),
    *("task_type", "peft_type", "runtime_config", "lora_dropout", "loftq_config", "eva_config"),
    *("r", "lora_alpha", "use_rslora", "target_modules", "exclude_modules"),
    *("layers_to_transform", "layers_pattern", "megatron_config", "megatron_core"),
    *("ensure_weight_tying", "qalora_group_size"),
}
"""Settings of an adapter that say nothing beyond its factors, or that the factors are read with."""

_MERGED = {
    *("bias", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"),
    *("trainable_token_indices", "target_parameters"),
}
"""Further settings with which merging into the weights gives what PEFT computes beside them."""

_MAX_NAMED = 4


def skeleton(config: Any) -> Any:
    """Return a model without memory for its weights.

    Args:
        config: of transformers.
    """
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), trust_remote_code=False)


def is_tied(model: Any) -> bool:
    """Tell whether a model's input and output embeddings are one matrix."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def adapter_layers(model: Any, targets: Sequence[str], *, merge: bool = True) -> list[str]:
    """Return the names of the layers that get adapters.

    Args:
        model: a causal language model, with weights or without.
        targets: as `training.lora.targets`; empty for every linear layer but the head, and in a
            mixture of experts those outside the experts' blocks.
        merge: as `training.lora.merge`.

    Raises:
        BadInput: a target names no layer, or one whose adapter would be lost.
    """
    possible = _linear_layers(model)
    embedding = _name_of(model, model.get_input_embeddings())
    if not targets:
        return possible
    found: list[str] = []
    for target in targets:
        layers = [name for name in possible if _names(target, name)]
        if _names(target, _name_of(model, model.get_output_embeddings())):
            raise BadInput(
                f"training.lora.targets names {target}, the head, which cannot have an adapter",
                remedy="Leave it out.",
            )
        if _names(target, embedding):
            _check_embedding(model, target, merge)
            layers.append(embedding)
        if not layers:
            raise _no_layer(model, target, possible)
        found += layers
    return list(dict.fromkeys(found))


def _check_embedding(model: Any, target: str, merge: bool) -> None:
    if is_tied(model):
        raise BadInput(
            f"training.lora.targets names {target}, which is the head's matrix too (they are "
            "tied), so an adapter on one of them cannot be written",
            remedy="Leave it out, or train all weights (training.lora.rank 0).",
        )
    if not merge:
        raise BadInput(
            f"training.lora.targets names {target}, whose adapter cannot be kept apart",
            remedy="Leave it out, or set training.lora.merge to true.",
        )


def _no_layer(model: Any, target: str, possible: Collection[str]) -> BadInput:
    if blocks := expert_blocks(model):
        return BadInput(
            f"training.lora.targets {target} cannot have adapters: this is a mixture of experts, "
            f"and what stands in {', '.join(sorted(blocks))} has none here",
            remedy=f"Name some of {', '.join(last_parts(possible))}, or leave it empty.",
        )
    return BadInput(
        f"training.lora.targets {target} cannot have adapters: no linear layer has this name",
        remedy=f"Name some of {', '.join(last_parts(possible))}, or leave it empty.",
    )


def expert_blocks(model: Any) -> set[str]:
    """Return the names that blocks with experts have in their layers, e.g. `mlp`; none if dense.

    transformers packs the experts of a layer into parameters of three dimensions.
    """
    packed = {name.rpartition(".")[0] for name, each in model.named_parameters() if each.dim() == 3}
    experts = {name for name in packed if "conv" not in name.rpartition(".")[2]}
    return {name.split(".")[-2] for name in experts if name.count(".") > 1}


def _linear_layers(model: Any) -> list[str]:
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    head, blocks = model.get_output_embeddings(), expert_blocks(model)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, Linear | Conv1D)
        and module is not head
        and not blocks.intersection(name.split("."))
    ]


def _name_of(model: Any, wanted: Any) -> str:
    return next((name for name, module in model.named_modules() if module is wanted), "")


def _names(target: str, layer: str) -> bool:
    return bool(layer) and (layer == target or layer.endswith(f".{target}"))


def last_parts(layers: Collection[str]) -> list[str]:
    """Return what layers are called in their blocks, each once."""
    return sorted({name.rpartition(".")[2] for name in layers})


def unreadable(folder: Path) -> Iterator[str]:
    """Yield the settings of an adapter that its factors do not say, e.g. `use_dora true`."""
    yield from _unusual(folder, _NEUTRAL)


def check_mergeable(folder: Path) -> None:
    """Refuse an adapter that is more than an addition to weights.

    Raises:
        BadInput: with its setting.
    """
    for setting in _unusual(folder, _NEUTRAL | _MERGED):
        raise BadInput(
            f"this adapter has {setting}, which cannot be merged into weights",
            file=folder / CONFIG,
            remedy="Merge it where you trained it, and name the merged model.",
        )


def _unusual(folder: Path, known: Collection[str]) -> Iterator[str]:
    from peft import LoraConfig

    given = json.loads((folder / CONFIG).read_text("utf-8"))
    usual = LoraConfig()
    names = {each.name for each in fields(LoraConfig)}
    for key, value in given.items():
        harmless = value in (None, False, [], {}) or value == getattr(usual, key, None)
        if key == "init_lora_weights":  # the others change the weights beside the adapter
            harmless = value in (True, False, "gaussian")
        if key not in known and not harmless:
            yield f"{key} {json.dumps(value)}" if key in names else f"an unknown setting, {key}"


def check_fit(model: Any, folder: Path) -> int:
    """Refuse an adapter that PEFT would apply in part or not at all; return how many layers it has.

    Args:
        model: without memory for its weights (`skeleton`); it is changed.
        folder: the adapter's files.

    Raises:
        BadInput: keys are missing, unexpected or of another shape; or it belongs to a matrix that
            is input and output embedding.
    """
    import torch
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors import safe_open  # the control image has none, and imports this module

    tied = is_tied(model)
    ends = [_name_of(model, each) for each in (model.get_input_embeddings(), _head(model))]
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        tensors = {
            key: torch.empty_like(file.get_tensor(key), device="meta")
            for key in sorted(file.keys())
        }
    try:
        with warnings.catch_warnings(action="ignore"):  # what they say is decided here
            config = LoraConfig.from_pretrained(str(folder))
            adapted = get_peft_model(model, config)
            result = set_peft_model_state_dict(adapted, dict(tensors), low_cpu_mem_usage=True)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise BadInput(
            f"the adapter does not fit the model: {_first_line(error)}",
            file=folder,
            remedy=_OTHER,
        ) from error
    missing = [key for key in result.missing_keys if ".default" in key]
    if missing or result.unexpected_keys:
        raise BadInput(
            "the adapter does not fit the model: "
            + "; ".join(
                f"{len(keys)} keys {what} ({_some(keys)})"
                for keys, what in ((missing, "missing"), (result.unexpected_keys, "unexpected"))
                if keys
            ),
            file=folder / WEIGHTS,
            remedy=_OTHER,
        )
    layers = {key.partition(".lora_")[0] for key in tensors}
    if tied and any(f"{end}." in f"{layer}." for layer in layers for end in ends if end):
        raise BadInput(
            "the adapter changes the model's embedding, which is the head's matrix too (they are "
            "tied), so that the sum is no such model any more",
            file=folder,
            remedy="Choose an adapter of the other layers.",
        )
    return len(layers)


_OTHER = "Name the model that the adapter was trained on, or export it again with save_pretrained."


def _head(model: Any) -> Any:
    return model.get_output_embeddings()


def _some(keys: Sequence[str]) -> str:
    return ", ".join(sorted(keys)[:_MAX_NAMED]) + (", ..." if len(keys) > _MAX_NAMED else "")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"
