"""Confidence intervals of proportions and means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIGITS = 12
"""Decimals within which two scores are the same: sums of fractions differ in the last bits."""

_ITEMS_PER_COUNT = 25
"""Drawing one multinomial count takes as long as drawing this many items (measured)."""

_RESAMPLES_PER_BATCH = 50
"""Resamples in memory at once."""


class Interval(TypedDict):
    """An estimate, its confidence limits in the same unit, and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion (Wilson 1927).

    Args:
        successes: how many of the items, 0 to n.
        n: items, or the effective number of independent ones; 0 gives the interval 0 to 1.
        confidence: level, 0.5 or more and below 1.
    """
    if n == 0:
        return Interval(value=0.0, low=0.0, high=1.0, n=0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= n else min(1.0, centre + half)
    return Interval(value=p, low=low, high=high, n=int(n))


def macro_average(parts: Sequence[Interval]) -> Interval:
    """Return the mean of independent estimates, its limits combined by MOVER.

    Zou and Donner (Statistics in Medicine 27, 2008): each limit's distance is the root of the
    summed squared distances. Unlike the normal approximation's, the interval keeps a width where
    all values are 0 or 1.
    """
    if not parts:
        return Interval(value=0.0, low=0.0, high=1.0, n=0)
    size = len(parts)
    mean = sum(part["value"] for part in parts) / size
    below = math.sqrt(sum((part["value"] - part["low"]) ** 2 for part in parts)) / size
    above = math.sqrt(sum((part["high"] - part["value"]) ** 2 for part in parts)) / size
    return Interval(
        value=mean,
        low=max(0.0, mean - below),
        high=min(1.0, mean + above),
        n=sum(part["n"] for part in parts),
    )


def mean_interval(scores: Sequence[float], *, seed: int = 0) -> Interval:
    """Return a mean with its 95% interval.

    It is Wilson's where all scores are 0 or 1, the case that Wilson's interval is for, and where
    all are equal: resamples would be equal too, as if the mean were known exactly. Wilson's is then
    wide enough, since no scores from 0 to 1 vary more than p (1 - p) around a mean p (Bhatia and
    Davis 2000). Otherwise it is the bootstrap's.

    Args:
        scores: from 0 to 1, one per item; without any, the interval is 0 to 1.
        seed: of the resampling.
    """
    if set(scores) <= {0.0, 1.0} or len({round(score, DIGITS) for score in scores}) == 1:
        return wilson(sum(scores), len(scores))
    return bootstrap_mean(scores, seed=seed)


def bootstrap_mean(
    scores: ArrayLike, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the percentile bootstrap interval of a mean (Efron and Tibshirani 1993, chapter 13).

    Args:
        scores: one number per item, shape (items,), in any unit; without any, the interval is 0
            to 1, as for an unknown fraction.
        confidence: level, 0.5 or more and below 1.
        resamples: how many.
        seed: of the resampling; the same numbers give the same interval.
    """
    values = np.asarray(scores, dtype=np.float64)
    if not values.size:
        return Interval(value=0.0, low=0.0, high=1.0, n=0)
    tail = (1 - confidence) / 2
    low, high = np.quantile(_resampled_means(values, resamples, seed), [tail, 1 - tail])
    return Interval(value=float(values.mean()), low=float(low), high=float(high), n=values.size)


def _resampled_means(scores: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Return the means of resamples, shape (resamples,).

    With few distinct scores, how often each one occurs is drawn: a few numbers per resample instead
    of one per item.
    """
    generator, n = np.random.default_rng(seed), len(scores)
    values, counts = np.unique(scores.round(DIGITS), return_counts=True)
    means: NDArray[np.float64]
    if len(values) * _ITEMS_PER_COUNT < n or len(values) == 1:
        means = generator.multinomial(n, counts / n, size=resamples) @ values / n
        return means
    means = np.empty(resamples)
    for first in range(0, resamples, _RESAMPLES_PER_BATCH):
        part = means[first : first + _RESAMPLES_PER_BATCH]
        drawn = generator.integers(0, n, (len(part), n), dtype=np.uint32)
        part[:] = scores[drawn].mean(axis=1)
    return means
