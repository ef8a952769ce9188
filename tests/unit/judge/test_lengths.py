from __future__ import annotations

import numpy as np
import pytest

from lidr.components.judge.lengths import length_controlled


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def biased(theta: float, phi: float, n: int = 4000, shift: float = 400.0, seed: int = 1):
    """Return soft verdicts of a judge with a known taste for length, of answers that are longer."""
    lengths = np.random.default_rng(seed).normal(shift, 300.0, n)
    return sigmoid(theta + phi * np.tanh(lengths / lengths.std())), lengths


@pytest.mark.parametrize("theta", [-1.0, 0.0, 0.7])
@pytest.mark.parametrize("phi", [-0.5, 0.0, 2.0])
def test_a_known_taste_for_length_is_taken_out(theta, phi):
    wins, lengths = biased(theta, phi)
    found = length_controlled(wins, lengths, resamples=100)
    assert found["value"] == pytest.approx(sigmoid(theta), abs=0.004)
    assert found["n"] == 4000
    if phi:
        assert abs(wins.mean() - sigmoid(theta)) > 0.05


def test_the_interval_covers_the_truth_of_drawn_verdicts():
    covered = 0
    for seed in range(40):
        chances, lengths = biased(0.4, 1.5, n=300, seed=seed)
        wins = (np.random.default_rng(1000 + seed).random(300) < chances).astype(float)
        found = length_controlled(wins, lengths, resamples=300, seed=seed)
        covered += found["low"] <= sigmoid(0.4) <= found["high"]
    assert covered >= 34


def test_without_differences_in_length_it_is_the_win_rate():
    wins = np.array([1.0, 0.0, 0.25, 0.75, 1.0, 1.0])
    found = length_controlled(wins, np.zeros(6), resamples=100)
    assert found["value"] == pytest.approx(wins.mean(), abs=1e-3)


def test_exchanging_the_answers_gives_the_complement():
    wins, lengths = biased(0.3, 1.0, n=500)
    there = length_controlled(wins, lengths, resamples=50)["value"]
    back = length_controlled(1 - wins, -lengths, resamples=50)["value"]
    assert there + back == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 2, 200])
def test_a_model_that_wins_always_has_a_finite_rate(n):
    found = length_controlled(np.ones(n), np.arange(n, dtype=float), resamples=50)
    assert 0.9 < found["value"] <= found["high"] <= 1
    assert np.isfinite(list(found.values())).all()


def test_nothing_says_nothing():
    empty = np.array([])
    assert length_controlled(empty, empty) == {"value": 0, "low": 0, "high": 1, "n": 0}
