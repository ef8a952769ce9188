"""Inference engines behind one small interface, and starting the one that a recipe chooses."""

from __future__ import annotations

from importlib.util import find_spec

from lidr.components.shared.config.engine_choice import choose_engine
from lidr.components.shared.config.generation import EngineName
from lidr.components.shared.config.machine import Machine
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
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
from lidr.components.shared.models.chat import ChatSettings
from lidr.components.shared.models.sources import ModelFiles, model_files

__all__ = [
    "ChatRequest",
    "Completion",
    "Decoding",
    "Engine",
    "Likelihoods",
    "ScoreRequest",
    "open_engine",
    "require_installed",
    "served_name",
    "start_engine",
]


def require_installed(engine: EngineName) -> None:
    """Refuse an engine that this machine cannot start.

    Raises:
        BadInput: its library is not installed.
    """
    if engine is EngineName.VLLM and find_spec("vllm") is None:
        raise BadInput(
            "generation.engine is vllm, which is not installed here",
            remedy="Install lidr[vllm], or set generation.engine to transformers.",
        )
    if engine is EngineName.OPENAI and find_spec("openai") is None:
        raise BadInput(
            "generation.engine is openai, whose client is not installed here",
            remedy="Install lidr[endpoint], or set generation.engine to transformers.",
        )


def start_engine(recipe: Recipe, model: ModelFiles) -> Engine:
    """Load a model into the engine that `choose_engine` names for a recipe.

    Raises:
        BadInput: the engine is not installed, or the profile names no server for it.
    """
    name, _ = choose_engine(recipe)
    require_installed(name)
    machine = Machine.from_environment().engine
    chat = ChatSettings.of(recipe.model)
    if name is EngineName.OPENAI:
        return OpenAIEngine(
            model.folder,
            name=served_name(recipe, model),
            max_length=recipe.model.max_length,
            server=machine.endpoint,
            chat=chat,
        )
    if name is EngineName.VLLM:
        return VllmEngine(
            model.folder,
            adapter=model.adapter,
            dtype=recipe.model.dtype,
            max_length=recipe.model.max_length,
            seed=recipe.seed,
            options=recipe.generation.vllm,
            machine=machine,
            chat=chat,
        )
    from lidr.components.shared.engines.transformers_engine import TransformersEngine

    return TransformersEngine(
        model.folder,
        adapter=model.adapter,
        dtype=recipe.model.dtype,
        max_length=recipe.model.max_length,
        batch_tokens=machine.batch_tokens,
        chat=chat,
    )


def open_engine(recipe: Recipe, stage_uri: str) -> Engine:
    """Load the model of a stage, without fetching weights if a server has them."""
    served = choose_engine(recipe)[0] is EngineName.OPENAI
    arguments = recipe.model.template_arguments
    return start_engine(recipe, model_files(stage_uri, weights=not served, arguments=arguments))


def served_name(recipe: Recipe, model: ModelFiles) -> str:
    """Return a model's name at the endpoint.

    Raises:
        BadInput: the name is the same for every iteration, and this model is not M_0.
    """
    pattern = recipe.generation.endpoint.model
    if model.trained and "{digest}" not in pattern:
        raise BadInput(
            f"generation.endpoint.model {pattern!r} names M_0, but this model is a trained one",
            remedy="Put {digest} into the name and serve each iteration's model under its own, "
            "or use another engine.",
        )
    return pattern.replace("{digest}", model.digest[:12])
