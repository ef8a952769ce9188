"""The length-controlled win rate: what a model would win if both answers were equally long.

Judges like long answers. AlpacaEval 2.0 (Dubois et al., arXiv 2404.04475) removes this bias with a
logistic regression. With q_i the win probability of item i, and d_i the length of the model's
answer to it minus that of the other answer, in characters, the regression is

    q_i ~ sigmoid(theta + phi * tanh(d_i / s)),    s = standard deviation of d

It is fitted by cross-entropy with a ridge penalty, which keeps theta finite for a model that always
wins. With the length term at 0, it predicts the length-controlled win rate, sigmoid(theta). The
paper's third term, how hard each instruction is, needs many models' answers to the same questions
and is left out. Each task and language is fitted on its own.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lidr.components.shared.stats.intervals import Interval

_RIDGE = np.array([1e-3, 1.0])
"""Penalties of theta and phi. As the loss is a sum over items, theta's is negligible, and phi's
matters only where items are few."""

_MAX_STEPS = 50
_TOLERANCE = 1e-9
_BLOCK_NUMBERS = 4_000_000
"""Item weights in one block of resamples, to bound the memory."""


def length_controlled(
    wins: NDArray[np.float64],
    lengths: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the length-controlled win rate with its interval (percentile bootstrap over items).

    Args:
        wins: win probability of each item, from 0 to 1, shape (items,).
        lengths: length of the model's answer minus that of the other answer, in characters, shape
            (items,).
        confidence: level of the interval, from 0 to 1.
        resamples: number of bootstrap resamples.
        seed: seed of the resampling.
    """
    n = len(wins)
    if n == 0:
        return Interval(value=0.0, low=0.0, high=1.0, n=0)
    spread = lengths.std()
    term = np.tanh(lengths / spread) if spread > 0 else np.zeros(n)
    value = _rates(wins, term, np.ones((1, n)))[0]
    block = max(1, _BLOCK_NUMBERS // n)
    generator = np.random.default_rng(seed)
    drawn = [
        _rates(wins, term, generator.multinomial(n, np.full(n, 1 / n), size=size).astype(float))
        for size in (min(block, resamples - start) for start in range(0, resamples, block))
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return Interval(value=float(value), low=float(low), high=float(high), n=n)


def _rates(
    wins: NDArray[np.float64], term: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit one regression per row of weights by Newton's method; return sigmoid(theta) of each.

    Args:
        wins: shape (items,).
        term: tanh(d / s), shape (items,).
        weights: how often each item counts, shape (fits, items).
    """
    theta, phi = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(_MAX_STEPS):
        chance = _sigmoid(theta[:, None] + phi[:, None] * term)
        error = weights * (chance - wins)
        slope = weights * chance * (1 - chance)
        gradient = error.sum(1) + _RIDGE[0] * theta, error @ term + _RIDGE[1] * phi
        a, b, d = slope.sum(1) + _RIDGE[0], slope @ term, slope @ term**2 + _RIDGE[1]
        determinant = a * d - b * b
        steps = (
            (d * gradient[0] - b * gradient[1]) / determinant,
            (a * gradient[1] - b * gradient[0]) / determinant,
        )
        theta, phi = theta - np.clip(steps[0], -1, 1), phi - np.clip(steps[1], -1, 1)
        if max(np.abs(steps[0]).max(), np.abs(steps[1]).max()) < _TOLERANCE:
            break
    return _sigmoid(theta)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    chance: NDArray[np.float64] = 1 / (1 + np.exp(-x))
    return chance
