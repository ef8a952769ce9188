"""The rewarder icr: the best of several samples over the worst, by the implicit reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lidr.components.pair.candidates import Candidate
from lidr.components.pair.reward.observations import Observations
from lidr.components.pair.rewarders.base import Decided, RewarderInputs
from lidr.components.pair.rewarders.samples import (
    SampledPrompts,
    ScoredSample,
    best_over_worst,
    observe_samples,
)

_PENALTIES = np.arange(0.0, 1.0, 0.001)
"""Nats a character, as in the authors' code."""


class IcrRewarder:
    """Chooses by the scores of the step `score`, less what length costs."""

    def __init__(self, inputs: RewarderInputs) -> None:
        self._settings = inputs.settings
        sampled = SampledPrompts.read(inputs)
        icr = inputs.settings.pairing.icr
        self._penalties = {
            code: length_penalty(groups, icr.beta)
            if icr.length_penalty == "auto"
            else icr.length_penalty
            for code, groups in sampled.scored().items()
        }
        self._sampled = sampled.changed(self._less_length)

    def candidates(self) -> list[Candidate]:
        """Return a candidate of every prompt in every language."""
        return best_over_worst(self._settings, self._sampled)

    def observe(self, decided: Decided, detected: Mapping[str, str]) -> dict[str, Observations]:
        """Return what is seen by language, then in all."""
        return observe_samples(self._settings, self._sampled, decided, detected)

    def counts(self) -> dict[str, Any]:
        """Return what a character costs in each language, in nats."""
        return {"length_penalty": {code: round(cost, 6) for code, cost in self._penalties.items()}}

    def _less_length(self, language: str, sample: ScoredSample) -> ScoredSample:
        cost = self._settings.pairing.icr.beta * self._penalties[language] * len(sample.text)
        return replace(sample, score=sample.score - cost)


def length_penalty(groups: Sequence[Sequence[ScoredSample]], beta: float) -> float:
    """Return what a character must cost for chosen and rejected texts to be of equal length.

    Args:
        groups: the scored samples of each prompt of one language.
        beta: of the scores.

    Returns:
        Nats of log(policy / reference): of the values from 0 to 1 in steps of 0.001 the first at
        which the mean difference of their lengths is smallest.
    """
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return 0.0
    total = np.zeros(len(_PENALTIES))
    for group in groups:
        lengths = np.array([len(each.text) for each in group], dtype=float)
        rewards = np.array([each.score for each in group]) / beta
        left = rewards[None, :] - _PENALTIES[:, None] * lengths[None, :]
        total += lengths[left.argmax(axis=1)] - lengths[left.argmin(axis=1)]
    return float(_PENALTIES[np.abs(total).argmin()])
