"""Which kinds of step a run has pods for."""

from __future__ import annotations

from lidr.components.shared.config.pools import KINDS, StepKind
from lidr.components.shared.config.recipe import Recipe


def kinds_of(recipe: Recipe, shards: int = 1) -> list[StepKind]:
    """Return the kinds of step that have pods; with shards, generate's pods translate too."""
    without = {"translate", "score"} - {recipe.pairing.reward_step}
    if recipe.judge is None:
        without.add("judge")
    if shards > 1:
        without.add("translate")
    return [kind for kind in KINDS if kind not in without]
