"""LoRA adapters in PEFT's format: which layers can have one, and whether files fit a model."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import some_of

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"

_FACTOR_SETTINGS = {
    *("auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode"),
    *("task_type", "peft_type", "runtime_config", "lora_dropout", "loftq_config", "eva_config"),
    *("r", "lora_alpha", "use_rslora", "target_modules", "exclude_modules"),
    *("layers_to_transform", "layers_pattern", "megatron_config", "megatron_core"),
    *("ensure_weight_tying", "qalora_group_size"),
}
"""Settings that do not change what an adapter computes, or that its factors (A and B) show."""

_MERGEABLE_SETTINGS = {
    *("bias", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save"),
    *("trainable_token_indices", "target_parameters"),
}
"""Further settings with which PEFT can merge the adapter into the weights."""

_MAX_NAMED = 4


def skeleton(config: Any) -> Any:
    """Return the model of a transformers configuration on the meta device, without weights.

    Raises:
        BadInput: it is not a causal language model's, e.g. one of images and text.
    """
    import torch
    from transformers import AutoModelForCausalLM

    require_causal(config)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(copy.deepcopy(config), trust_remote_code=False)


def require_causal(config: Any) -> None:
    """Refuse a transformers configuration that is not a causal language model's.

    Raises:
        BadInput: it is not, e.g. that of a model of images and text.
    """
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise BadInput(
            f"transformers has no causal language model for {config.model_type}",
            remedy="Choose a model of text alone.",
        )


def is_tied(model: Any) -> bool:
    """Tell whether a model's input and output embeddings are one matrix."""
    head = model.get_output_embeddings()
    return head is not None and head.weight is model.get_input_embeddings().weight


def adapter_layers(model: Any, targets: Sequence[str], *, merge: bool = True) -> list[str]:
    """Return the names of the layers that get adapters.

    Args:
        model: a causal language model, with weights or without.
        targets: as `training.lora.targets`; empty for every linear layer except the head and, in a
            mixture of experts, the experts' blocks.
        merge: as `training.lora.merge`.

    Raises:
        BadInput: a target names no layer, or one whose adapter could not be exported.
    """
    possible = _linear_layers(model)
    if not targets:
        return possible
    head = _module_name(model, model.get_output_embeddings())
    embedding = _module_name(model, model.get_input_embeddings())
    found: list[str] = []
    for target in targets:
        layers = [name for name in possible if _matches(target, name)]
        if _matches(target, head):
            raise BadInput(
                f"training.lora.targets names {target}, the head, which cannot have an adapter",
                remedy="Leave it out.",
            )
        if _matches(target, embedding):
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
    reason = "no linear layer has this name"
    if blocks := ", ".join(sorted(expert_blocks(model))):
        reason = f"this is a mixture of experts, and layers in {blocks} get none"
    return BadInput(
        f"training.lora.targets {target} cannot have adapters: {reason}",
        remedy=f"Name some of {', '.join(short_names(possible))}, or leave it empty.",
    )


def expert_blocks(model: Any) -> set[str]:
    """Return the names of the blocks that hold experts, e.g. `mlp`; none if the model is dense.

    transformers packs the experts of a layer into three-dimensional parameters.
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


def _module_name(model: Any, wanted: Any) -> str:
    return next((name for name, module in model.named_modules() if module is wanted), "")


def _matches(target: str, layer: str) -> bool:
    return bool(layer) and (layer == target or layer.endswith(f".{target}"))


def short_names(layers: Collection[str]) -> list[str]:
    """Return the last part of each layer's name, e.g. `q_proj`, sorted and without repetitions."""
    return sorted({name.rpartition(".")[2] for name in layers})


def settings_beyond_factors(folder: Path) -> Iterator[str]:
    """Yield settings that change an adapter beyond its factors (A and B), e.g. `use_dora true`."""
    return _unusual_settings(folder, _FACTOR_SETTINGS)


def check_mergeable(folder: Path) -> None:
    """Refuse an adapter that cannot be merged into the weights.

    Raises:
        BadInput: with the setting that prevents it.
    """
    for setting in _unusual_settings(folder, _FACTOR_SETTINGS | _MERGEABLE_SETTINGS):
        raise BadInput(
            f"this adapter has {setting}, which cannot be merged into weights",
            file=folder / CONFIG,
            remedy="Merge it where you trained it, and name the merged model.",
        )


def _unusual_settings(folder: Path, known: Collection[str]) -> Iterator[str]:
    from peft import LoraConfig

    given = json.loads((folder / CONFIG).read_text("utf-8"))
    defaults = LoraConfig()
    names = {each.name for each in fields(LoraConfig)}
    for key, value in given.items():
        harmless = value in (None, False, [], {}) or value == getattr(defaults, key, None)
        if key == "init_lora_weights":  # most other values change the base weights, too
            harmless = value in (True, False, "gaussian", "eva")
        if key not in known and not harmless:
            yield f"{key} {json.dumps(value)}" if key in names else f"an unknown setting, {key}"


def check_fit(model: Any, folder: Path) -> int:
    """Refuse an adapter that PEFT would not apply completely; return the number of its layers.

    Args:
        model: the model on the meta device (`skeleton`); it is changed.
        folder: the adapter's files.

    Raises:
        BadInput: keys are missing, unexpected or of another shape; or the adapter changes one of
            two tied embeddings.
    """
    import torch
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
    from safetensors import (
        safe_open,
    )  # the control image imports this module, but lacks safetensors

    tied, head = is_tied(model), model.get_output_embeddings()
    embeddings = [_module_name(model, each) for each in (model.get_input_embeddings(), head)]
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        tensors = {
            key: torch.empty_like(file.get_tensor(key), device="meta")
            for key in sorted(file.keys())
        }
    try:
        with warnings.catch_warnings(action="ignore"):  # we check what PEFT warns of
            config = LoraConfig.from_pretrained(str(folder))
            adapted = get_peft_model(model, config)
            result = set_peft_model_state_dict(adapted, dict(tensors), low_cpu_mem_usage=True)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"the adapter does not fit the model: {_first_line(error)}",
            file=folder,
            remedy=_FIT_REMEDY,
        ) from error
    missing = [key for key in result.missing_keys if ".default" in key]
    if missing or result.unexpected_keys:
        raise BadInput(
            "the adapter does not fit the model: "
            + "; ".join(
                f"{len(keys)} keys {what} ({some_of(sorted(keys), _MAX_NAMED)})"
                for keys, what in ((missing, "missing"), (result.unexpected_keys, "unexpected"))
                if keys
            ),
            file=folder / WEIGHTS,
            remedy=_FIT_REMEDY,
        )
    layers = {key.partition(".lora_")[0] for key in tensors}
    if tied and any(f"{each}." in f"{layer}." for layer in layers for each in embeddings if each):
        raise BadInput(
            "the adapter changes the model's embedding, which is the head's matrix too (they are "
            "tied); once merged, they would differ",
            file=folder,
            remedy="Choose an adapter of the other layers.",
        )
    return len(layers)


_FIT_REMEDY = (
    "Name the model that the adapter was trained on, or export it again with save_pretrained."
)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"
