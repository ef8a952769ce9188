"""Bytes of what a training run leaves on the store, by formula."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.sizing.architecture import Architecture

FileType = Literal["float32", "bfloat16"]


def export_type(setting: str, seen: str, own: Collection[str]) -> FileType:
    """Return the type of the weights that training writes.

    Args:
        setting: `training.export`; `auto` is bfloat16 where inference and the start model have it.
        seen: type of weights in inference, e.g. `bfloat16`.
        own: types of the start model's weights.
    """
    both = seen == "bfloat16" and "bfloat16" in own
    return "bfloat16" if setting == "bfloat16" or (setting == "auto" and both) else "float32"


def model_bytes(
    recipe: Recipe, shape: Architecture, config: Mapping[str, Any], *, gpu: bool
) -> float:
    """Return the bytes of the models that all iterations write.

    An adapter that is not merged also holds those of the iterations before it; it is in float32.

    Args:
        recipe: of which `training`, `model` and `gate` are read.
        shape: of M_0.
        config: M_0's config.json.
        gpu: whether training and inference have GPUs.
    """
    rounds, lora = recipe.gate.max_iterations, recipe.training.lora
    if lora.rank and not lora.merge:
        return 4.0 * shape.lora_parameters(lora.rank) * rounds * (rounds + 1) / 2
    seen = recipe.model.dtype if recipe.model.dtype != "auto" else ("float32", "bfloat16")[gpu]
    own = str(config.get("dtype") or config.get("torch_dtype") or "float32").removeprefix("torch.")
    written = export_type(recipe.training.export, seen, {own})
    return (2.0 if written == "bfloat16" else 4.0) * shape.parameters * rounds
