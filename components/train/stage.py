"""The address of the train stage, importable without the step."""

from __future__ import annotations

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

VERSION = 5


def start_and_reference(settings: Recipe, inputs: str, model: str) -> tuple[str, str]:
    """Return the URIs of the stages with the start model and with DPO's reference model."""
    models = {"previous": model, "base": inputs}
    return models[settings.training.start], models[settings.training.reference]


def train_stage(
    settings: Recipe, store: str, inputs: str, pairs: str, model: str, iteration: int
) -> Stage:
    """Return the stage with an iteration's trained model, complete or not."""
    start, reference = start_and_reference(settings, inputs, model)
    return new_stage(
        open_store(store),
        "train",
        VERSION,
        {
            "pairs": digest_of_uri(pairs),
            "start": digest_of_uri(start),
            "reference": digest_of_uri(reference),
        },
        {
            "seed": settings.seed,
            "iteration": iteration,
            **settings.training.model_dump(mode="json"),
        },
    )
