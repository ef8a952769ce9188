"""The interface of a rewarder: it makes candidates, and observes how good its reward is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lidr.components.pair.candidates import Candidate, Decided
from lidr.components.pair.reward.observations import Observations
from lidr.components.shared.config.recipe import Recipe


@dataclass(frozen=True)
class RewarderInputs:
    """What a rewarder reads.

    Attributes:
        recipe: the run's recipe.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        rewards: URI of the stage that the recipe's rewarder needs: translate, score or grade
            (`Pairing.reward_step`).
    """

    recipe: Recipe
    inputs: str
    responses: str
    rewards: str


class Rewarder(Protocol):
    """Turns an iteration's responses into preference pairs: a better and a worse text."""

    def __init__(self, inputs: RewarderInputs) -> None: ...

    def candidates(self) -> list[Candidate]:
        """Return every candidate; those without one of the texts say why it is missing."""

    def observe(self, decided: Decided, detected: Mapping[str, str]) -> dict[str, Observations]:
        """Return what the reward check measures.

        Args:
            decided: the candidates of the checked prompts, after the filters.
            detected: the detected language, by text.

        Returns:
            By direction (`en-es`) or language, then by pools of these, the pool of all last.
        """

    def counts(self) -> dict[str, Any]:
        """Return further counts for the stage's marker."""
