"""Inference engines behind one small interface, and the choice among them."""

from __future__ import annotations

from importlib.util import find_spec

from lidr.components.shared.config.recipe import EngineName, Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.gpu import gpu_present
from lidr.components.shared.engines.base import (
    ChatRequest,
    Completion,
    Decoding,
    Engine,
    Likelihoods,
    ScoreRequest,
)
from lidr.components.shared.engines.openai_engine import OpenAIEngine
from lidr.components.shared.engines.vllm_engine import VllmEngine
from lidr.components.shared.models.sources import ModelFiles, model_files

__all__ = [
    "ChatRequest",
    "Completion",
    "Decoding",
    "Engine",
    "Likelihoods",
    "ScoreRequest",
    "choose_engine",
    "open_engine",
    "served_name",
    "start_engine",
]


def choose_engine(recipe: Recipe) -> tuple[EngineName, str]:
    """Return the engine a recipe resolves to on this machine, and why.

    Raises:
        BadInput: the recipe asks for what is not installed.
    """
    wanted = recipe.generation.engine
    has_vllm = find_spec("vllm") is not None
    if wanted == "vllm" and not has_vllm:
        raise BadInput(
            "generation.engine is vllm, which is not installed here",
            remedy="Install lidr[vllm], or set generation.engine to transformers.",
        )
    if wanted == "openai" and find_spec("openai") is None:
        raise BadInput(
            "generation.engine is openai, whose client is not installed here",
            remedy="Install lidr[endpoint], or set generation.engine to transformers.",
        )
    if wanted != "auto":
        return EngineName(wanted), "the recipe says so"
    if not has_vllm:
        return EngineName.TRANSFORMERS, "vllm is not installed"
    if not gpu_present():
        return EngineName.TRANSFORMERS, "there is no GPU"
    return EngineName.VLLM, "there is a GPU and vllm is installed"


def start_engine(recipe: Recipe, model: ModelFiles) -> Engine:
    """Load a model into the engine that `choose_engine` names.

    Args:
        recipe: its `generation` and `model` parts set up the engine.
        model: the model's files on this machine.
    """
    name, _ = choose_engine(recipe)
    if name is EngineName.OPENAI:
        return OpenAIEngine(
            model.folder,
            name=served_name(recipe, model),
            max_length=recipe.model.max_length,
            endpoint=recipe.generation.endpoint,
        )
    if name is EngineName.VLLM:
        return VllmEngine(
            model.folder,
            adapter=model.adapter,
            dtype=recipe.model.dtype,
            max_length=recipe.model.max_length,
            seed=recipe.seed,
            options=recipe.generation.vllm,
        )
    from lidr.components.shared.engines.transformers_engine import TransformersEngine

    return TransformersEngine(
        model.folder,
        adapter=model.adapter,
        dtype=recipe.model.dtype,
        max_length=recipe.model.max_length,
        batch_tokens=recipe.generation.batch_tokens,
    )


def open_engine(recipe: Recipe, stage_uri: str) -> Engine:
    """Load the model of a stage; a server's needs no weights here."""
    served = choose_engine(recipe)[0] is EngineName.OPENAI
    return start_engine(recipe, model_files(stage_uri, weights=not served))


def served_name(recipe: Recipe, model: ModelFiles) -> str:
    """Return the name that a model is asked for at the endpoint.

    Raises:
        BadInput: it names one model whatever the iteration, and this is not M_0.
    """
    pattern = recipe.generation.endpoint.model
    if model.trained and "{digest}" not in pattern:
        raise BadInput(
            f"generation.endpoint.model {pattern!r} is M_0, but the model wanted is a trained one",
            remedy="Put {digest} into the name and serve each iteration's model under its own, "
            "or use another engine.",
        )
    return pattern.replace("{digest}", model.digest[:12])
