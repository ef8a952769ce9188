"""The rewarder judge: the best of several samples over the worst, by a judge's grades."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lidr.components.pair.candidates import Candidate
from lidr.components.pair.reward.observations import Observations
from lidr.components.pair.rewarders.base import Decided, RewarderInputs
from lidr.components.pair.rewarders.samples import SampledPrompts, best_over_worst, observe_samples


class JudgeRewarder:
    """Chooses by the grades of the step `grade`."""

    def __init__(self, inputs: RewarderInputs) -> None:
        self._settings = inputs.settings
        self._sampled = SampledPrompts.read(inputs)

    def candidates(self) -> list[Candidate]:
        """Return a candidate of every prompt in every language."""
        return best_over_worst(self._settings, self._sampled)

    def observe(self, decided: Decided, detected: Mapping[str, str]) -> dict[str, Observations]:
        """Return what is seen by language, then in all."""
        return observe_samples(self._settings, self._sampled, decided, detected)

    def counts(self) -> dict[str, Any]:
        """Return nothing: the grade stage says it."""
        return {}
