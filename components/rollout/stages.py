"""The addresses of the stages of generate and translate, importable without the steps."""

from __future__ import annotations

from lidr.components.shared.config.engine_choice import engine_identity
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

GENERATE_VERSION = 6
TRANSLATE_VERSION = 8


def generate_stage(settings: Recipe, store: str, inputs: str, model: str, iteration: int) -> Stage:
    """Return the stage with an iteration's responses, complete or not."""
    return new_stage(
        open_store(store),
        "generate",
        GENERATE_VERSION,
        {"inputs": digest_of_uri(inputs), "model": digest_of_uri(model)},
        {
            **_common(settings, iteration),
            "per_iteration": settings.prompts.per_iteration,
            **settings.generation.model_dump(mode="json"),
            **engine_identity(settings),
        },
    )


def translate_stage(
    settings: Recipe, store: str, responses: str, model: str, iteration: int
) -> Stage:
    """Return the stage with the translations of an iteration's responses, complete or not."""
    return new_stage(
        open_store(store),
        "translate",
        TRANSLATE_VERSION,
        {"responses": digest_of_uri(responses), "model": digest_of_uri(model)},
        {
            **_common(settings, iteration),
            "samples": settings.generation.samples,
            "chunk_size": settings.generation.chunk_size,
            "truncated": settings.pairing.active.truncated,
            "recovers": settings.pairing.recovers,
            **settings.translation.model_dump(mode="json"),
            **engine_identity(settings),
        },
    )


def _common(settings: Recipe, iteration: int) -> dict[str, object]:
    return {
        "iteration": iteration,
        "seed": settings.seed,
        "languages": settings.languages.model_dump(mode="json"),
    }
