from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from benchmarks.gate import Case, detections, false_promotions, promoted, simulate_copies
from lidr.components.gate.power import ITEMS, Design, detectable_gain, power_table
from lidr.components.shared.stats.paired import Paired, by_question
from tests.fakes import make_recipe

ALPHA = 0.05


@pytest.mark.parametrize(
    "case",
    [
        Case(30, 1, (0.5,), 0.0),
        Case(100, 4, (0.2, 0.9), 0.0),
        Case(200, 4, (0.3, 0.8), 0.9),
    ],
)
def test_two_copies_of_a_model_are_promoted_no_oftener_than_alpha(case):
    repeats = 500
    noise = 3 * sqrt(ALPHA * (1 - ALPHA) / repeats)
    assert false_promotions(case, repeats) <= ALPHA + noise


def test_languages_that_share_their_questions_are_not_independent_evidence():
    """With sums of single items instead of questions twice as many copies are promoted."""
    rng, case = np.random.default_rng(0), Case(100, 4, (0.5,), 0.9)
    alone = 0
    for _ in range(300):
        gains = simulate_copies(case, rng)
        own = [(gain, [(str(k), str(n)) for n in range(100)]) for k, gain in enumerate(gains)]
        parts, _ = by_question([Paired(names, gain, {}, {}) for gain, names in own])
        alone += parts.sum() > 1.645 * sqrt((parts**2).sum())
    assert alone / 300 > 2 * ALPHA


def test_a_gain_as_large_as_the_table_says_is_found():
    assert detections(250, 4, 0.7, 400) == pytest.approx(0.8, abs=0.07)


def test_a_better_model_is_promoted_and_a_worse_one_is_not():
    better = [np.array([1.0] * 30 + [0.0] * 70)] * 2
    assert promoted(better)
    assert not promoted([-gain for gain in better])


def test_the_gain_by_hand():
    """One language: g sqrt(n) = z_alpha sqrt(d) + z_power sqrt(d - g²), with d = churn + g."""
    gain = detectable_gain(400, Design(), 0.5, discordance=0.1)
    assert gain is not None
    errors = 1.6449 * sqrt(0.1 + gain) + 0.8416 * sqrt(0.1 + gain - gain**2)
    assert gain * 20 == pytest.approx(errors, rel=1e-4)
    assert 0.04 < gain < 0.05


def test_more_of_everything_makes_smaller_gains_visible():
    base = detectable_gain(250, Design(languages=2), 0.5)
    assert base is not None
    smaller = [
        detectable_gain(1000, Design(languages=2), 0.5),
        detectable_gain(250, Design(languages=8), 0.5),
        detectable_gain(250, Design(languages=2), 0.9),
        detectable_gain(250, Design(languages=2, correlation=0.0), 0.5),
        detectable_gain(250, Design(languages=2, alpha=0.2), 0.5),
        detectable_gain(250, Design(languages=2, power=0.5), 0.5),
    ]
    assert all(gain is not None and gain < base for gain in smaller)
    barred = detectable_gain(250, Design(languages=2, bar=0.02), 0.5)
    assert barred is not None and barred > base + 0.02


def test_what_there_is_no_room_for_is_not_detectable():
    assert detectable_gain(50, Design(), 0.95) is None
    assert detectable_gain(10_000, Design(bar=0.2), 0.9) is None


def test_the_table_is_for_the_recipe():
    table = power_table(make_recipe(gate={"min_gain": 0.01, "alpha": 0.1}))
    assert (table["gain"]["bar"], table["gain"]["alpha"], table["gain"]["languages"]) == (
        0.01,
        0.1,
        2,
    )
    assert table["fall"]["alpha"] == pytest.approx(0.1 / 3)
    assert [row["items"] for row in table["rows"] if row["own"]] == [300]
    assert table["items"] == 300
    limited = make_recipe(evaluation={"tasks": ["tiny_world_{language}"], "limit": 40})
    assert power_table(limited)["items"] == 40


def test_where_the_tasks_decide_there_is_no_own_row():
    files = dict.fromkeys(("en", "es", "de"), "x.jsonl")
    table = power_table(
        make_recipe(model={"source": "hf://org/name@main"}, prompts={"files": files})
    )
    assert table["items"] is None
    assert [row["items"] for row in table["rows"]] == list(ITEMS)
    assert not any(row["own"] for row in table["rows"])
