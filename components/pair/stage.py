"""The address of the pair stage, importable without the step."""

from __future__ import annotations

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

VERSION = 3


def pair_stage(
    settings: Recipe,
    store: str,
    inputs: str,
    responses: str,
    translations: str,
    model: str,
    iteration: int,
) -> Stage:
    """Return the stage with an iteration's preference pairs, complete or not."""
    read = {
        "inputs": inputs,
        "responses": responses,
        "translations": translations,
        "model": model,
    }
    return new_stage(
        open_store(store),
        "pair",
        VERSION,
        {name: digest_of_uri(uri) for name, uri in read.items()},
        {
            "iteration": iteration,
            "languages": settings.languages.model_dump(mode="json"),
            "samples": settings.generation.samples,
            **settings.pairing.model_dump(mode="json", exclude={"filters"}),
            "filters": settings.pairing.active.model_dump(mode="json"),
        },
    )
