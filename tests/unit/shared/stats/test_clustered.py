from __future__ import annotations

import random
from math import comb

import pytest

from lidr.components.shared.stats.clustered import Share, clustered_share
from lidr.components.shared.stats.intervals import wilson
from lidr.components.shared.stats.significance import binomial_below


@pytest.mark.parametrize(
    ("k", "n", "p"), [(0, 3, 0.5), (12, 20, 0.8), (150, 200, 0.8), (1, 9, 0.1)]
)
def test_binomial_below_is_the_sum_of_its_terms(k, n, p):
    exact = sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
    assert binomial_below(k, n, p) == pytest.approx(exact)


def test_binomial_below_is_one_where_nothing_can_be_below():
    assert binomial_below(5, 5, 0.8) == binomial_below(0, 0, 0.8) == binomial_below(1, 9, 0.0) == 1
    assert binomial_below(8, 9, 1.0) == 0.0


def test_binomial_below_holds_for_many_texts():
    assert binomial_below(79_000, 100_000, 0.8) < 1e-12
    assert binomial_below(80_000, 100_000, 0.8) == pytest.approx(0.5, abs=0.01)


def test_share_of_independent_outcomes_is_worth_all_of_them():
    share = clustered_share([(n, n % 4 > 0) for n in range(40)])
    assert share == Share(30, 40, 40, 40)
    assert share.interval == wilson(30, 40)
    assert share.p_below(0.8) == binomial_below(30, 40, 0.8)


def test_share_of_outcomes_that_always_agree_within_a_cluster_is_worth_the_clusters():
    share = clustered_share([(n // 4, n // 4 % 5 > 0) for n in range(200)])
    assert share.effective == pytest.approx(50, rel=0.05)
    assert share.interval["n"] == 200
    assert clustered_share([(n // 4, True) for n in range(200)]).effective == 50


def test_share_of_nothing_says_nothing():
    share = clustered_share([])
    assert (share.value, share.effective, share.p_below(0.8)) == (0.0, 0, 1.0)
    assert share.interval == {"value": 0.0, "low": 0.0, "high": 1.0, "n": 0}


@pytest.mark.parametrize(("clusters", "size", "alike"), [(30, 3, 0.5), (12, 3, 1.0), (60, 6, 0.2)])
def test_share_at_its_bar_is_called_below_it_at_most_as_often_as_alpha(clusters, size, alike):
    rng, repeats, called = random.Random(1), 1500, 0
    for _ in range(repeats):
        drawn = []
        for cluster in range(clusters):
            common = rng.random() < 0.8
            drawn += [
                (cluster, common if rng.random() < alike else rng.random() < 0.8)
                for _ in range(size)
            ]
        called += clustered_share(drawn).p_below(0.8) <= 0.05
    assert called / repeats <= 0.05 + 2 * (0.05 * 0.95 / repeats) ** 0.5
