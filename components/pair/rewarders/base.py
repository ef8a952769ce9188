"""What a rewarder is to the pair step: candidates, and what is seen of their reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lidr.components.pair.candidates import Candidate
from lidr.components.pair.reward.observations import Observations
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.records.schema import DropReason

Decided = Sequence[tuple[Candidate, DropReason | None]]
"""Candidates with the reason that drops each, or None."""


@dataclass(frozen=True)
class RewarderInputs:
    """What a rewarder reads.

    Attributes:
        settings: the recipe.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        rewards: URI of the stage of the step that it needs (`Pairing.reward_step`).
    """

    settings: Recipe
    inputs: str
    responses: str
    rewards: str


class Rewarder(Protocol):
    """Turns an iteration's responses into pairs of texts, one of which is better."""

    def __init__(self, inputs: RewarderInputs) -> None: ...

    def candidates(self) -> list[Candidate]:
        """Return every candidate, also those whose texts are missing, with the reason."""

    def observe(self, decided: Decided, detected: Mapping[str, str]) -> dict[str, Observations]:
        """Return what the reward check sees: by place, then of places pooled, all of them last.

        Args:
            decided: the candidates, after the filters.
            detected: the language of each of their texts.
        """

    def counts(self) -> dict[str, Any]:
        """Return what else the stage's marker says of this reward."""
