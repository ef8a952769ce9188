"""Inference engines behind one small interface, and the choice among them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from components.shared.engines.base import ChatRequest, Completion, Decoding, Engine
from components.shared.engines.gpu import gpu_present
from components.shared.errors import BadInput
from components.shared.recipe import EngineName, Recipe

__all__ = ["ChatRequest", "Completion", "Decoding", "Engine", "choose_engine", "start_engine"]


def choose_engine(recipe: Recipe) -> tuple[EngineName, str]:
    """Return the engine a recipe resolves to on this machine, and why.

    Raises:
        BadInput: the recipe asks for vllm, which is not installed.
    """
    wanted = recipe.generation.engine
    has_vllm = find_spec("vllm") is not None
    if wanted == "vllm" and not has_vllm:
        raise BadInput(
            "generation.engine is vllm, which is not installed here",
            remedy="Install lidr[vllm], or set generation.engine to transformers.",
        )
    if wanted != "auto":
        return EngineName(wanted), "the recipe says so"
    if not has_vllm:
        return EngineName.TRANSFORMERS, "vllm is not installed"
    if not gpu_present():
        return EngineName.TRANSFORMERS, "there is no GPU"
    return EngineName.VLLM, "there is a GPU and vllm is installed"


def start_engine(recipe: Recipe, folder: Path) -> Engine:
    """Load a model into the engine that `choose_engine` names.

    Args:
        recipe: its `generation` and `model` parts set up the engine.
        folder: the model's files on this machine.
    """
    name, _ = choose_engine(recipe)
    if name is EngineName.VLLM:
        from components.shared.engines.vllm_engine import VllmEngine

        return VllmEngine(
            folder,
            dtype=recipe.model.dtype,
            max_length=recipe.model.max_length,
            seed=recipe.seed,
            options=recipe.generation.vllm,
        )
    from components.shared.engines.transformers_engine import TransformersEngine

    return TransformersEngine(
        folder,
        dtype=recipe.model.dtype,
        max_length=recipe.model.max_length,
        batch_tokens=recipe.generation.batch_tokens,
    )
