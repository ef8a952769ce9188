"""Bytes of what a training run leaves on the store, by formula."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.sizing.architecture import Architecture, text_settings

FileType = Literal["float32", "bfloat16"]


def export_type(setting: str, inference_dtype: str, start_dtypes: Collection[str]) -> FileType:
    """Return the type of the weights that training writes.

    Args:
        setting: `training.export`; `auto` is bfloat16 where inference and the start model have it.
        inference_dtype: of the weights in inference, e.g. `bfloat16`.
        start_dtypes: of the start model's weights.
    """
    both_bfloat16 = inference_dtype == "bfloat16" and "bfloat16" in start_dtypes
    if setting == "bfloat16" or (setting == "auto" and both_bfloat16):
        return "bfloat16"
    return "float32"


def model_bytes(
    recipe: Recipe, shape: Architecture, config: Mapping[str, Any], *, gpu: bool
) -> float:
    """Return the bytes of the models that all iterations write.

    An unmerged adapter contains those of the iterations before it, unless each starts from M_0; it
    is written in float32, and counted as if every linear layer had one.

    Args:
        recipe: of which `training`, `model` and `gate` are read.
        shape: of M_0.
        config: M_0's config.json.
        gpu: whether training and inference have GPUs.
    """
    iterations, lora = recipe.gate.max_iterations, recipe.training.lora
    if lora.rank and not lora.merge:
        alone = recipe.training.start == "base"
        ranks = iterations if alone else iterations * (iterations + 1) / 2
        return 4.0 * shape.lora_parameters(lora.rank) * ranks
    inference = recipe.model.dtype
    if inference == "auto":
        inference = "bfloat16" if gpu else "float32"
    text = text_settings(config)
    start = str(text.get("dtype") or text.get("torch_dtype") or "float32").removeprefix("torch.")
    written = export_type(recipe.training.export, inference, {start})
    return (2.0 if written == "bfloat16" else 4.0) * shape.parameters * iterations
