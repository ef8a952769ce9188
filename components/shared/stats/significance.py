"""Tests of whether a difference between two models may be chance.

The paired tests assume only that, on each item, both models are equally likely to be right.
Swapping the models then changes nothing, so each difference is as likely with the other sign.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lidr.components.shared.stats.intervals import DIGITS

Alternative = Literal["two-sided", "greater"]

_SIGNS_PER_COUNT = 25
"""Drawing one binomial count takes as long as drawing about this many signs."""

_COUNTS_PER_BATCH = 2**22
"""Binomial counts in memory at once; how they are split changes none of them."""

_RESAMPLES_PER_BATCH = 64
"""Resamples whose single signs are in memory at once; changing it changes what is drawn."""

_MAX_EXACT = 5000
"""Tosses up to which a tail is summed in integers: the time grows with their square."""


def mcnemar(won: int, lost: int, alternative: Alternative = "two-sided") -> float:
    """Return the p-value of McNemar's exact test (binomial, given won + lost; not mid-p).

    Args:
        won: items that only the second model has right.
        lost: items that only the first model has right.
        alternative: `greater` asks whether the second is better, `two-sided` whether they differ.
    """
    if alternative == "greater":
        return _at_least(won, won + lost)
    return min(1.0, 2 * _at_least(max(won, lost), won + lost))


def binomial_above(successes: int, n: int, share: float) -> float:
    """Return the p-value of the exact binomial test that a true share is above `share`.

    That is P(X >= successes), X of B(n, share); it is valid for every n (Clopper and Pearson 1934).

    Args:
        successes: 0 to n.
        n: independent outcomes; 0 gives 1.
        share: 0 to 1.
    """
    if successes <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    odds, rest = math.log(share), math.log1p(-share)
    terms = (
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * odds + (n - k) * rest
        for k in range(successes, n + 1)
    )
    return min(1.0, math.fsum(math.exp(term) for term in terms))


def binomial_below(successes: int, n: int, share: float) -> float:
    """Return the p-value of the exact binomial test that a true share is below `share`.

    That is P(X <= successes), X of B(n, share).

    Args:
        successes: 0 to n.
        n: independent outcomes; 0 gives 1.
        share: 0 to 1.
    """
    if successes >= n or share <= 0.0:
        return 1.0
    if share >= 1.0:
        return 0.0
    odds = math.log(share) - math.log1p(-share)
    ways = math.lgamma(n + 1) + n * math.log1p(-share)
    logs = (
        ways - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * odds for k in range(successes + 1)
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def sign_flip(
    differences: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """Return the p-value of the paired randomisation test of a sum of differences.

    If all nonzero differences have the same absolute value, as with right and wrong items, this is
    McNemar's test and needs no resamples. Otherwise p = (1 + resamples at least as extreme) /
    (1 + resamples), which is valid for any number of resamples (Phipson and Smyth 2010).

    Args:
        differences: second - first, one number for each independent unit, shape (units,).
        alternative: `greater` asks whether the second is better, `two-sided` whether they differ.
        resamples: how many, if there is no closed form.
        seed: of the resampling.

    Raises:
        ValueError: a difference is NaN or infinite: comparisons with NaN are false, so p would be
            tiny.
    """
    given = np.asarray(differences, dtype=np.float64).round(DIGITS)
    if not np.isfinite(given).all():
        raise ValueError("a difference is not a finite number")
    given = given[given != 0]
    sizes, counts = np.unique(np.abs(given), return_counts=True)
    if len(sizes) <= 1:
        won = int((given > 0).sum())
        return mcnemar(won, len(given) - won, alternative)
    drawn, observed = _flipped(sizes, counts, resamples, seed), given.sum()
    if alternative == "two-sided":
        drawn, observed = np.abs(drawn), abs(observed)
    extreme = int((drawn >= observed - 10.0**-DIGITS * len(given)).sum())
    return (1 + extreme) / (1 + resamples)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number by Holm's method, in the same order (Holm 1979).

    Rejecting all that are at most alpha makes a false rejection with probability alpha at most.
    """
    adjusted, reached = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        reached = max(reached, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = reached
    return adjusted


def _at_least(successes: int, n: int) -> float:
    """Return P(X >= successes) for n tosses of a fair coin."""
    if n > _MAX_EXACT:
        return _upper_tail(successes, n)
    ways, total = 1, 0
    for heads in range(n, successes - 1, -1):  # C(n, heads), from C(n, n) = 1 downwards
        total += ways
        ways = ways * heads // (n - heads + 1)
    return total / (1 << n)


def _upper_tail(successes: int, n: int) -> float:
    """Return the same as `_at_least` in floats, to 12 digits, in linear time."""
    if successes > n:
        return 0.0
    if 2 * successes <= n:  # terms would grow at first
        return 1.0 - _upper_tail(n - successes + 1, n)
    first, exponent = 1.0, -n
    for k in range(1, n - successes + 1):  # C(n, successes) / 2^n, beyond a float's range
        first, shift = math.frexp(first * (successes + k) / k)
        exponent += shift
    term = total = math.ldexp(first, exponent)
    for heads in range(successes, n):
        term *= (n - heads) / (heads + 1)
        total += term
        if term < total * 1e-17:
            break
    return total


def _flipped(
    sizes: NDArray[np.float64], counts: NDArray[np.int64], resamples: int, seed: int
) -> NDArray[np.float64]:
    """Return the sum of each resample, (resamples,).

    Args:
        sizes: the distinct absolute differences.
        counts: how many differences have each of them.
        resamples: how many.
        seed: of the signs.
    """
    generator = np.random.default_rng(seed)
    sums = np.empty(resamples)
    if len(sizes) * _SIGNS_PER_COUNT < counts.sum():
        for part in _batches(sums, max(1, _COUNTS_PER_BATCH // len(sizes))):
            positive = generator.binomial(counts, 0.5, (len(part), len(counts)))
            part[:] = (2 * positive - counts) @ sizes
        return sums
    every = np.repeat(sizes, counts)
    for part in _batches(sums, _RESAMPLES_PER_BATCH):
        raw = generator.integers(0, 256, (len(part), (len(every) + 7) // 8), dtype=np.uint8)
        signs = np.unpackbits(raw, axis=1)[:, : len(every)]
        part[:] = 2 * (signs @ every) - every.sum()
    return sums


def _batches(values: NDArray[np.float64], length: int) -> Iterator[NDArray[np.float64]]:
    """Yield an array's consecutive parts, as views."""
    for first in range(0, len(values), length):
        yield values[first : first + length]
