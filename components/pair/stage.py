"""The address of the pair stage, importable without the step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lidr.components.shared.config.pairing import Pairing
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.steps import STATE_KEYS
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage

VERSION = 11

TRAIN, STOP = "train", "stop"
"""What may follow a pair stage."""


def after_pairs(settings: Recipe, counts: Mapping[str, Any]) -> str:
    """Return what follows a pair stage: TRAIN, or STOP where its reward cannot be trusted.

    Args:
        settings: the recipe, which may say to train anyway (`pairing.reward.on_stop`).
        counts: the counts of the finished stage.
    """
    stopped = counts.get("reward", {}).get("verdict") == STOP
    return STOP if stopped and settings.pairing.reward.on_stop == "stop" else TRAIN


def min_pairs(settings: Recipe) -> int:
    """Return how many pairs the recipe's minimum of optimizer steps needs."""
    steps = settings.pairing.reward.min_steps
    return math.ceil(steps * settings.training.batch_size / settings.training.epochs)


def pair_stage(
    settings: Recipe,
    store: str,
    inputs: str,
    responses: str,
    rewards: str,
    model: str,
    iteration: int,
) -> Stage:
    """Return the stage with an iteration's preference pairs, complete or not.

    Args:
        settings: the recipe.
        store: URI of the store.
        inputs: URI of the stage `prepare`.
        responses: URI of the generate stage.
        rewards: URI of the stage that the rewarder needs: translate, score or grade.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
    """
    read = {
        "inputs": inputs,
        "responses": responses,
        STATE_KEYS[settings.pairing.reward_step]: rewards,
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
            **settings.pairing.model_dump(
                mode="json",
                exclude={"filters": True, "reward": {"on_stop"}, "rewarder": True, "icr": True},
            ),
            **_rewarder_settings(settings.pairing),
            "min_pairs": min_pairs(settings),
            "filters": settings.pairing.active.model_dump(mode="json"),
        },
    )


def _rewarder_settings(pairing: Pairing) -> dict[str, object]:
    """Return the rewarder's settings that this step uses; the stages it reads cover the others."""
    if pairing.rewarder == "icr":
        return {"rewarder": "icr", "length_penalty": pairing.icr.length_penalty}
    return {} if pairing.rewarder == "lidr" else {"rewarder": pairing.rewarder}
