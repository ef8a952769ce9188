"""Refuses early what otherwise only training would refuse, after earlier steps were paid for."""

from __future__ import annotations

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput


def require_trainable(recipe: Recipe, profile: Profile) -> None:
    """Refuse ZeRO stage 3 where a model that training reads has a LoRA adapter beside its weights.

    Each rank then holds a part of the weights only, to which no adapter can be added.

    Raises:
        BadInput: such a model has an adapter, in the first iteration or in the second.
    """
    if profile.training.zero.stage != 3:
        return
    training = recipe.training
    if recipe.model.adapter:
        raise BadInput(
            "training.zero.stage 3 shards the weights over ranks, and model.adapter cannot be "
            "added to parts of them",
            remedy="Set training.zero.stage to 2 in the profile, or name a model that has the "
            "adapter in its weights.",
        )
    again = recipe.gate.max_iterations > 1 and "previous" in (training.start, training.reference)
    if again and not training.lora.merge:
        raise BadInput(
            "training.lora.merge is false, so M_1 is an adapter, and iteration 2 cannot add it to "
            "weights that training.zero.stage 3 shards over ranks",
            remedy="Set training.lora.merge to true, or training.zero.stage to 2 in the profile.",
        )
