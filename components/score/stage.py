"""The models that score, and the address of their stage, importable without the step."""

from __future__ import annotations

from typing import NamedTuple

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.models.stages import model_stage
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import step_of
from lidr.components.shared.store.stage import Stage, new_stage, open_stage

VERSION = 2


class ScoringModels(NamedTuple):
    """URIs of the stages that hold the implicit reward's two models."""

    policy: str
    reference: str


def scoring_models(settings: Recipe, store: str, inputs: str, model: str) -> ScoringModels:
    """Return the models whose log-probabilities are compared.

    Args:
        settings: the recipe, whose `pairing.icr` names them.
        store: URI of the store.
        inputs: URI of the stage `prepare`, which holds M_0.
        model: URI of the stage that holds M_t.

    Raises:
        BadInput: there is no such model, or its files are unusable.
    """
    icr = settings.pairing.icr
    if step_of(model) == "train" and not icr.every_iteration:
        return ScoringModels(model, _trained_against(model, inputs))
    home = open_store(store)
    policy = model_stage(home, icr.policy) if icr.policy else model
    return ScoringModels(policy, model_stage(home, icr.reference))


def score_stage(
    settings: Recipe, store: str, inputs: str, responses: str, models: ScoringModels, iteration: int
) -> Stage:
    """Return the stage with the implicit rewards of an iteration's responses, complete or not."""
    read = {"inputs": inputs, "responses": responses, **models._asdict()}
    return new_stage(
        open_store(store),
        "score",
        VERSION,
        {name: digest_of_uri(uri) for name, uri in read.items()},
        {
            "iteration": iteration,
            "per_iteration": settings.prompts.per_iteration,
            "languages": settings.languages.model_dump(mode="json"),
            "beta": settings.pairing.icr.beta,
            "truncated": settings.pairing.active.truncated,
            "precision": settings.training.precision,
            "max_length": settings.model.max_length,
        },
    )


def _trained_against(model: str, inputs: str) -> str:
    """Return the URI of the reference model that M_t was trained against."""
    stage = open_stage(model)
    reference = str(stage.marker()["identity"]["inputs"]["reference"])
    if reference == digest_of_uri(inputs):
        return inputs
    return f"{stage.store.uri}/stages/train/{reference}"
