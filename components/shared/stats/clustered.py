"""Shares of outcomes that come in clusters, e.g. several translations of one prompt's answer."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from lidr.components.shared.stats.intervals import Interval, wilson
from lidr.components.shared.stats.significance import binomial_below


@dataclass(frozen=True, slots=True)
class Share:
    """A share of outcomes, and how many independent ones it is worth.

    Attributes:
        successes: true outcomes.
        n: all outcomes.
        clusters: number of clusters.
        effective: how many independent outcomes would be as precise, at most n.
    """

    successes: int
    n: int
    clusters: int
    effective: float

    @property
    def value(self) -> float:
        """The share; 0 for no outcomes."""
        return self.successes / self.n if self.n else 0.0

    @property
    def interval(self) -> Interval:
        """Wilson's 95% interval at the effective number; `n` is the number of outcomes."""
        return Interval({**wilson(self.value * self.effective, self.effective), "n": self.n})

    def p_below(self, share: float) -> float:
        """Return the p-value of the exact binomial test that the true share is below `share`.

        The test needs whole numbers; the effective numbers are rounded towards a larger p-value.
        """
        n = math.floor(self.effective + 1e-9)
        return binomial_below(min(n, math.ceil(self.value * n - 1e-9)), n, share)


def clustered_share(outcomes: Sequence[tuple[Hashable, bool]]) -> Share:
    """Return the share of true outcomes, with its precision reduced by clustering.

    The design effect is the ratio estimator's variance between clusters divided by the binomial
    variance (Rao and Scott, JASA 76, 1981), at least 1. If all outcomes agree it cannot be
    estimated: then each cluster counts as one outcome.

    Args:
        outcomes: each outcome with the cluster that it belongs to.
    """
    n, successes = len(outcomes), sum(outcome for _, outcome in outcomes)
    groups: dict[Hashable, list[bool]] = defaultdict(list)
    for cluster, outcome in outcomes:
        groups[cluster].append(outcome)
    if len(groups) == n:
        return Share(successes, n, n, n)
    effect = _design_effect(list(groups.values()), successes / n)
    return Share(successes, n, len(groups), n / effect)


def _design_effect(groups: Sequence[Sequence[bool]], share: float) -> float:
    count, n = len(groups), sum(map(len, groups))
    if share in (0.0, 1.0) or count < 2:
        return n / count
    squares = sum((sum(group) - share * len(group)) ** 2 for group in groups)
    between = squares * count / (count - 1)  # n^2 times the variance of the share
    return max(1.0, between / (n * share * (1 - share)))
