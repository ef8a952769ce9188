from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.shared.stats.intervals import (
    bootstrap_mean,
    macro_average,
    mean_interval,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0000),
    ],
)
def test_wilson_agrees_with_published_values(successes, n, low, high):
    found = wilson(successes, n)
    assert found["value"] == successes / n
    assert found["n"] == n
    assert (round(found["low"], 4), round(found["high"], 4)) == (low, high)


def test_nothing_measured_says_nothing():
    assert wilson(0, 0) == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    assert macro_average([]) == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_value_and_stays_a_share(pair):
    found = wilson(*pair)
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    wider = wilson(*pair, confidence=0.99)
    assert wider["low"] <= found["low"] <= found["high"] <= wider["high"]


def test_an_average_is_of_languages_not_of_items():
    found = macro_average([wilson(90, 100), wilson(1, 10)])
    assert found["value"] == pytest.approx(0.5)
    assert found["n"] == 110


def test_an_average_of_one_is_that_one():
    assert macro_average([wilson(3, 10)]) == pytest.approx(wilson(3, 10))


def test_an_average_is_narrower_than_its_parts_and_never_certain():
    part = wilson(150, 300)
    found = macro_average([part] * 4)
    assert found["high"] - found["low"] == pytest.approx((part["high"] - part["low"]) / 2)
    perfect = macro_average([wilson(300, 300)] * 3)
    assert perfect["low"] < 1 == perfect["high"]


def test_the_average_s_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    truths = (0.5, 0.8, 0.95)
    covered = 0
    for _ in range(500):
        found = macro_average([wilson(int(rng.binomial(60, p)), 60) for p in truths])
        covered += found["low"] <= np.mean(truths) <= found["high"]
    assert 0.92 <= covered / 500 <= 0.985


def test_the_same_seed_gives_the_same_interval_and_another_one_another():
    scores = [1, 0, -1, 1, 0.5, 0.25, 1]
    assert bootstrap_mean(scores) == bootstrap_mean(scores)
    assert bootstrap_mean(scores) != bootstrap_mean(scores, seed=2)


@pytest.mark.parametrize("kind", ["few", "many"])
def test_resampling_agrees_with_a_plain_bootstrap(kind):
    rng = np.random.default_rng(3)
    few = rng.choice([-1.0, 0.0, 1.0], 200, p=[0.1, 0.6, 0.3])
    scores = few if kind == "few" else rng.normal(0.1, 0.4, 80)
    found = bootstrap_mean(scores, resamples=8000)
    means = [rng.choice(scores, len(scores)).mean() for _ in range(8000)]
    low, high = np.quantile(means, [0.025, 0.975])
    assert found["value"] == pytest.approx(scores.mean())
    assert found["low"] == pytest.approx(low, abs=0.01)
    assert found["high"] == pytest.approx(high, abs=0.01)
    assert found["n"] == len(scores)


def test_a_bootstrap_of_shares_is_near_wilson_s():
    found, expected = bootstrap_mean([1.0] * 120 + [0.0] * 180), wilson(120, 300)
    assert found["low"] == pytest.approx(expected["low"], abs=0.01)
    assert found["high"] == pytest.approx(expected["high"], abs=0.01)


def test_the_bootstrap_covers_the_mean():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        found = bootstrap_mean(rng.beta(2, 1, 100), resamples=500)
        covered += found["low"] <= 2 / 3 <= found["high"]
    assert 0.91 <= covered / 400 <= 0.98


def test_equal_scores_are_certain_and_none_are_not():
    found = bootstrap_mean([0.1] * 50)
    assert (found["low"], found["high"]) == pytest.approx((0.1, 0.1))
    assert bootstrap_mean([]) == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}


def test_a_higher_confidence_is_wider():
    scores = [1, 0, -1, 1, 0, 0, 1] * 10
    narrow, wide = (bootstrap_mean(scores, confidence=level) for level in (0.8, 0.99))
    assert wide["low"] < narrow["low"] < narrow["high"] < wide["high"]


@pytest.mark.parametrize("score", [0.0, 0.78, 1.0])
def test_mean_interval_of_equal_scores_keeps_a_width(score: float):
    assert mean_interval([score] * 20) == pytest.approx(wilson(score * 20, 20))
    assert mean_interval([score] * 20)["high"] - mean_interval([score] * 20)["low"] > 0.1
    assert mean_interval([0.78, 0.5, 0.9]) == bootstrap_mean([0.78, 0.5, 0.9])
