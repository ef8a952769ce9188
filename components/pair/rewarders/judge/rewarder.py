"""The rewarder judge: the best of several samples over the worst, by a judge's grades."""

from __future__ import annotations

from lidr.components.pair.rewarders.samples import SampleRewarder


class JudgeRewarder(SampleRewarder):
    """Chooses by the grades of the step `grade`, whose marker has the counts of judgements."""
