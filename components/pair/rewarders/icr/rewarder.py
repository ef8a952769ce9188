"""The rewarder icr: the best of several samples over the worst, by the implicit reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lidr.components.pair.rewarders.base import RewarderInputs
from lidr.components.pair.rewarders.samples import SampledPrompt, SampleRewarder, ScoredSample

_PENALTIES = np.arange(0.0, 1.0, 0.001)
"""Nats per character, as in the authors' code."""


class IcrRewarder(SampleRewarder):
    """Chooses by the scores of the step `score`, minus a penalty on length."""

    def __init__(self, inputs: RewarderInputs) -> None:
        super().__init__(inputs)
        icr = inputs.recipe.pairing.icr
        groups: dict[str, list[tuple[ScoredSample, ...]]] = {}
        for row in self._prompts:
            groups.setdefault(row.prompt.language, []).append(row.samples)
        self._penalties = {
            code: length_penalty(own, icr.beta)
            if icr.length_penalty == "auto"
            else icr.length_penalty
            for code, own in groups.items()
        }
        self._prompts = [self._penalised(row) for row in self._prompts]

    def counts(self) -> dict[str, Any]:
        """Return the penalty per character in each language, in nats."""
        return {"length_penalty": {code: round(cost, 6) for code, cost in self._penalties.items()}}

    def _penalised(self, row: SampledPrompt) -> SampledPrompt:
        cost = self._recipe.pairing.icr.beta * self._penalties[row.prompt.language]
        samples = (replace(each, score=each.score - cost * len(each.text)) for each in row.samples)
        return replace(row, samples=tuple(samples))


def length_penalty(groups: Sequence[Sequence[ScoredSample]], beta: float) -> float:
    """Return the penalty per character that makes chosen and rejected texts most equal in length.

    Args:
        groups: the scored samples of each prompt of one language.
        beta: factor that the scores contain.

    Returns:
        Nats of log(policy / reference) per character: of the values from 0 to 0.999 in steps of
        0.001, the first at which the mean difference of the lengths is smallest.
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
