from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lidr.components.shared.stats import significance
from lidr.components.shared.stats.significance import binomial_above, holm, mcnemar, sign_flip

binomtest = pytest.importorskip("scipy.stats").binomtest


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        (0, 0, 1.0),
        (1, 1, 1.0),
        (5, 0, 2 * 1 / 32),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
        (7, 1, 2 * (1 + 8) / 256),
        (4, 12, 2 * (1 + 16 + 120 + 560 + 1820) / 65536),
    ],
)
def test_mcnemar_agrees_with_values_by_hand(won, lost, p):
    assert mcnemar(won, lost) == pytest.approx(p, rel=1e-12)
    assert mcnemar(won, lost) == mcnemar(lost, won)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_agrees_with_scipy(won, lost):
    if won + lost:
        assert mcnemar(won, lost) == pytest.approx(binomtest(won, won + lost).pvalue)
        greater = binomtest(won, won + lost, alternative="greater").pvalue
        assert mcnemar(won, lost, "greater") == pytest.approx(greater)


def test_mcnemar_is_exact_where_floats_end():
    assert mcnemar(5000, 0, "greater") == 0.0
    assert mcnemar(20_000, 20_000, "greater") == pytest.approx(0.502, abs=1e-3)


@pytest.mark.parametrize("n", [1, 10, 401, 3000])
def test_mcnemar_is_the_same_for_many_items_in_floats(n, monkeypatch):
    tails = {won: mcnemar(won, n - won, "greater") for won in range(0, n + 1, max(1, n // 7))}
    monkeypatch.setattr(significance, "_MAX_EXACT", 0)
    for won, exact in tails.items():
        assert mcnemar(won, n - won, "greater") == pytest.approx(exact, rel=1e-12, abs=1e-300)


def test_mcnemar_takes_linear_time_for_very_many_items():
    found = mcnemar(150_200, 149_800)
    assert found == pytest.approx(math.erfc(399 / math.sqrt(2 * 300_000)), abs=1e-6)


def test_right_and_wrong_items_need_no_draws():
    differences = [1.0] * 9 + [-1.0] * 3 + [0.0] * 50
    assert sign_flip(differences) == mcnemar(9, 3)
    assert sign_flip(differences, alternative="greater") == mcnemar(9, 3, "greater")
    assert sign_flip([0.0] * 10) == 1.0
    assert sign_flip([]) == 1.0


@pytest.mark.parametrize("alternative", ["two-sided", "greater"])
def test_other_items_agree_with_every_pattern_of_signs(alternative):
    differences = np.array([0.3, 0.5, -0.1, 0.2, 0.7, -0.4, 0.25, 0.6])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 8)).reshape(8, -1)
    sums = np.abs(differences) @ signs
    observed = differences.sum()
    if alternative == "two-sided":
        sums = np.abs(sums)
    exact = (sums >= observed - 1e-9).mean()
    found = sign_flip(differences, alternative=alternative, resamples=200_000)
    assert found == pytest.approx(exact, abs=0.002)


def test_few_sizes_and_many_agree():
    """The two ways of drawing, by counts and by single signs, give the same p-value."""
    rng = np.random.default_rng(1)
    few = rng.choice([-1.0, -0.5, 0.5, 1.0], 400, p=[0.2, 0.25, 0.25, 0.3])
    many = few + rng.normal(0, 1e-7, 400)
    found = [sign_flip(each, resamples=50_000) for each in (few, many)]
    assert found[0] == pytest.approx(found[1], abs=0.01)
    assert 0.01 < found[0] < 0.5


def test_counts_are_drawn_alike_in_any_batches(monkeypatch):
    """A batch is bounded in memory: resamples times distinct sizes."""
    few = np.random.default_rng(1).choice([-1.0, -0.5, 0.25, 1.0], 400)
    found = sign_flip(few, resamples=999)
    monkeypatch.setattr(significance, "_COUNTS_PER_BATCH", 30)
    batches = []
    original = significance._batches
    monkeypatch.setattr(
        significance, "_batches", lambda *given: batches.append(given[1]) or original(*given)
    )
    assert sign_flip(few, resamples=999) == found
    assert batches == [10]


def test_a_draw_counts_itself():
    assert sign_flip([0.1 * k for k in range(1, 41)], resamples=99) == 1 / 100


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_difference_that_is_no_number_is_no_evidence(value):
    with pytest.raises(ValueError, match="not a finite number"):
        sign_flip([value, 0.1, -0.2, 0.3], resamples=999)


def test_the_same_seed_gives_the_same_p_value():
    differences = np.random.default_rng(0).normal(0.1, 1, 200)
    assert sign_flip(differences, seed=3) == sign_flip(differences, seed=3)
    assert sign_flip(differences, seed=3) != sign_flip(differences, seed=4)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_raw_and_bonferroni(raw):
    adjusted = holm(raw)
    for (p, q), (other, another) in zip(
        zip(raw, adjusted, strict=True), zip(raw[1:], adjusted[1:], strict=False), strict=False
    ):
        assert p > other or q <= another
    for p, q in zip(raw, adjusted, strict=True):
        assert p <= q <= min(1.0, p * len(raw)) + 1e-12


@pytest.mark.parametrize(("k", "n", "share"), [(0, 5, 0.2), (1, 5, 0.2), (9, 12, 0.1), (5, 5, 0.9)])
def test_a_share_s_excess_has_the_exact_binomial_tail(k, n, share):
    assert binomial_above(k, n, share) == pytest.approx(binomtest(k, n, share, "greater").pvalue)


def test_a_share_s_excess_at_the_edges():
    assert binomial_above(0, 0, 0.1) == 1.0
    assert binomial_above(3, 100, 0.0) == 0.0
    assert binomial_above(100, 100, 1.0) == 1.0
    tail = binomtest(1100, 10_000, 0.1, "greater").pvalue
    assert binomial_above(1100, 10_000, 0.1) == pytest.approx(tail, rel=1e-6)
