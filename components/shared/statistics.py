"""Intervals that say how far a measured number can be trusted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from components.shared.digest import seed_of


class Interval(TypedDict):
    """An estimate as a fraction, its confidence limits, and the number of items behind it."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion (Wilson 1927).

    Args:
        successes: how many of the items, 0 to n.
        n: items; 0 gives the interval 0 to 1.
        confidence: level, 0.5 to 1.
    """
    if n == 0:
        return Interval(value=0.0, low=0.0, high=1.0, n=0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    high = 1.0 if successes >= n else min(1.0, centre + half)
    return Interval(value=p, low=low, high=high, n=n)


def macro_average(parts: Sequence[Interval]) -> Interval:
    """Return the mean of independent estimates, its limits combined by MOVER.

    Zou and Donner (Statistics in Medicine 27, 2008): each limit's distance is the root of the
    summed squared distances. Unlike the normal approximation it does not vanish at 0 or 1.
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


def paired_gains(
    groups: Sequence[NDArray[np.float64]], *, confidence: float, resamples: int, seed: int
) -> tuple[list[Interval], Interval]:
    """Bootstrap the mean difference of paired scores, per group and macro-averaged over groups.

    Percentile bootstrap over items, each group resampled on its own (Efron and Tibshirani 1993,
    chapter 13).

    Args:
        groups: per group the differences (after - before), one per item, shape (items,).
        confidence: level of the intervals.
        resamples: how many.
        seed: of the resampling; the same numbers give the same intervals.
    """
    means = [
        _resampled_means(group, resamples, seed_of(seed, index))
        for index, group in enumerate(groups)
    ]
    each = [
        _percentiles(group.mean(), mean, len(group), confidence)
        for group, mean in zip(groups, means, strict=True)
    ]
    overall = np.mean([group.mean() for group in groups])
    total = sum(len(group) for group in groups)
    return each, _percentiles(overall, np.mean(means, axis=0), total, confidence)


def _resampled_means(
    differences: NDArray[np.float64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Draw how often each distinct difference occurs: a few numbers instead of n a resample."""
    values, counts = np.unique(differences, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(
        len(differences), counts / counts.sum(), size=resamples
    )
    means: NDArray[np.float64] = drawn @ values / len(differences)
    return means


def _percentiles(
    value: np.floating, means: NDArray[np.float64], n: int, confidence: float
) -> Interval:
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(value=float(value), low=float(low), high=float(high), n=n)
