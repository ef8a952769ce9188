"""The engine of a run: chosen once when it begins, and part of the digests of its texts."""

from __future__ import annotations

from importlib.util import find_spec

from lidr.components.shared.config.generation import EngineName
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.gpu import gpu_present


def choose_engine(recipe: Recipe) -> tuple[EngineName, str]:
    """Return the engine of a recipe, and why; this machine decides what `auto` is."""
    if recipe.generation.engine != "auto":
        return EngineName(recipe.generation.engine), "the run's recipe names it"
    if find_spec("vllm") is None:
        return EngineName.TRANSFORMERS, "vllm is not installed"
    if not gpu_present():
        return EngineName.TRANSFORMERS, "there is no GPU"
    return EngineName.VLLM, "there is a GPU and vllm is installed"


def choose_engine_for(recipe: Recipe, profile: Profile) -> tuple[EngineName, str]:
    """Return the engine of a recipe under a profile, and why.

    A cluster's steps do not run on this machine, so the GPUs of its generate step decide; that
    step's image has vLLM.
    """
    if recipe.generation.engine != "auto" or profile.runner == "local":
        return choose_engine(recipe)
    if gpus := profile.resources_of("generate").accelerators:
        return EngineName.VLLM, f"profile {profile.name} gives a generate step {gpus} GPU(s)"
    return EngineName.TRANSFORMERS, f"profile {profile.name} gives a generate step no GPU"


def with_engine(recipe: Recipe, engine: EngineName) -> Recipe:
    """Return the recipe with this engine."""
    generation = recipe.generation.model_copy(update={"engine": engine.value})
    return recipe.model_copy(update={"generation": generation})


def engine_identity(recipe: Recipe) -> dict[str, object]:
    """Return the settings that decide what a model writes, for the digest of a stage with text."""
    generation = recipe.generation
    return {
        "engine": choose_engine(recipe)[0].value,
        "dtype": recipe.model.dtype,
        "max_length": recipe.model.max_length,
        "vllm": generation.vllm.model_dump(mode="json"),
        "endpoint": generation.endpoint.model_dump(mode="json"),
    }
