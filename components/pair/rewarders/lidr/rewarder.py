"""The rewarder lidr: the dominant answer is better, also as translated by the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lidr.components.pair.candidates import Candidate, Decided
from lidr.components.pair.reward.observations import Observations
from lidr.components.pair.rewarders.base import RewarderInputs
from lidr.components.pair.rewarders.lidr.candidates import candidates, read_samples
from lidr.components.pair.rewarders.lidr.observations import observe, pooled


class LidrRewarder:
    """Chooses by the language that an answer was written in."""

    def __init__(self, inputs: RewarderInputs) -> None:
        self._recipe = inputs.recipe
        self._samples = read_samples(inputs.recipe, inputs.inputs, inputs.responses, inputs.rewards)

    def candidates(self) -> list[Candidate]:
        """Return two candidates of every prompt and other language."""
        return candidates(self._recipe.languages, self._samples)

    def observe(self, decided: Decided, detected: Mapping[str, str]) -> dict[str, Observations]:
        """Return observations by direction, out of and into the dominant language, and of all."""
        found = observe(self._recipe, self._samples, decided, detected)
        return pooled(self._recipe.languages.dominant, found)

    def counts(self) -> dict[str, Any]:
        """Return no further counts."""
        return {}
