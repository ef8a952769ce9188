from __future__ import annotations

from math import sqrt

import numpy as np
import pytest

from benchmarks.gate import (
    Case,
    broken_bars,
    detections,
    false_promotions,
    false_stops,
    promoted,
    regressions,
    simulate_copies,
)
from lidr.components.gate.power import (
    ITEMS,
    Design,
    breaking_share,
    detectable_gain,
    least_items,
    power_table,
)
from lidr.components.shared.stats.paired import PairedItems, by_question
from tests.fakes import make_recipe

ALPHA = 0.05


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        Case(12, 4, (0.5,), 0.5, (0.67,)),
        Case(100, 4, (0.9,), 0.0, (0.12,)),
        Case(200, 4, (0.3, 0.8), 0.9, (0.05, 0.9)),
    ],
)
def test_two_copies_of_a_model_are_stopped_no_oftener_than_alpha(case):
    repeats = 500
    noise = 3 * sqrt(ALPHA * (1 - ALPHA) / repeats)
    assert false_stops(case, repeats) <= ALPHA + noise


def test_a_share_as_large_as_the_table_says_breaks_its_bar():
    assert broken_bars(250, 4, 400) == pytest.approx(0.8, abs=0.07)


def test_the_share_that_breaks_a_bar_by_hand():
    """Far above the predecessor's, only the bar counts: q - b = (z_a sqrt(b(1-b)) + ...) / 20."""
    share = breaking_share(400, Design(), 0.1, before=0.0)
    assert share is not None
    errors = 1.6449 * sqrt(0.09) + 0.8416 * sqrt(share * (1 - share))
    assert (share - 0.1) * 20 == pytest.approx(errors, rel=1e-3)
    near = breaking_share(400, Design(), 0.1, before=0.3)
    assert near is not None and near > 0.34, "above the predecessor's share, too"
    assert breaking_share(4, Design(), 0.9, before=0.5) is None


@pytest.mark.parametrize(("tests", "least"), [(1, 5), (9, 8), (15, 9), (30, 10)])
def test_a_bar_needs_so_many_items_that_one_side_alone_can_win(tests, least):
    assert least_items(0.05, tests, 0.1) == least
    assert tests * 2.0**-least <= 0.05 < tests * 2.0 ** -(least - 1)


def test_languages_that_share_their_questions_are_not_independent_evidence():
    """With sums of single items instead of questions twice as many copies are promoted."""
    rng, case = np.random.default_rng(0), Case(100, 4, (0.5,), 0.9)
    alone = unmatched = 0
    for _ in range(300):
        gains = simulate_copies(case, rng)
        items = np.concatenate(gains) / 400
        alone += items.sum() > 1.645 * sqrt((items**2).sum())
        own = [(gain, [(str(k), str(n)) for n in range(100)]) for k, gain in enumerate(gains)]
        parts, _ = by_question([PairedItems(names, gain) for gain, names in own])
        unmatched += parts.sum() > 1.645 * sqrt((parts**2).sum())
    assert alone / 300 > 2 * ALPHA
    assert unmatched / 300 < ALPHA + 0.02, "though nobody says which items are one question"


@pytest.mark.slow
def test_a_gain_as_large_as_the_table_says_is_found():
    assert detections(250, 4, 0.7, 400) == pytest.approx(0.8, abs=0.07)


@pytest.mark.slow
@pytest.mark.parametrize(("items", "languages", "accuracy"), [(250, 4, 0.7), (10_000, 1, 0.9)])
def test_a_fall_as_large_as_the_table_says_is_a_regression(items, languages, accuracy):
    """With 250 items it is the proof that is hard, with 10,000 being seen beyond the tolerance."""
    assert regressions(items, languages, accuracy, 400) == pytest.approx(0.8, abs=0.07)


def test_a_better_model_is_promoted_and_a_worse_one_is_not():
    better = [np.array([1.0] * 30 + [0.0] * 70)] * 2
    assert promoted(better)
    assert not promoted([-gain for gain in better])


def test_the_gain_by_hand():
    """One language: g sqrt(n) = z_alpha sqrt(d) + z_power sqrt(d - g²), with d = a(1-a) + g."""
    gain = detectable_gain(400, Design(), 0.1)
    assert gain is not None
    errors = 1.6449 * sqrt(0.09 + gain) + 0.8416 * sqrt(0.09 + gain - gain**2)
    assert gain * 20 == pytest.approx(errors, rel=1e-4)
    assert 0.04 < gain < 0.05


def test_the_gain_beyond_a_tolerance_by_hand():
    """What is seen must be beyond it: (g - tolerance) sqrt(n) = z_power sqrt(d - g²)."""
    small, large = Design(tolerance=0.01), Design(tolerance=0.1)
    assert detectable_gain(400, small, 0.1) == detectable_gain(400, Design(), 0.1)
    gain = detectable_gain(400, large, 0.1)
    assert gain is not None
    assert (gain - 0.1) * 20 == pytest.approx(0.8416 * sqrt(0.09 + gain - gain**2), rel=1e-4)
    assert detectable_gain(400, large, 0.92) is None, "there is no room beyond the tolerance"


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
    barred = detectable_gain(250, Design(languages=2, min_gain=0.02), 0.5)
    assert barred is not None and barred > base + 0.02


def test_what_there_is_no_room_for_is_not_detectable():
    assert detectable_gain(50, Design(), 0.95) is None
    assert detectable_gain(10_000, Design(min_gain=0.2), 0.9) is None


def test_the_table_is_for_the_recipe():
    table = power_table(make_recipe(gate={"min_gain": 0.01, "alpha": 0.1}))
    assert (table["gain"]["min_gain"], table["gain"]["alpha"], table["gain"]["languages"]) == (
        0.01,
        0.1,
        2,
    )
    assert table["fall"]["alpha"] == pytest.approx(0.1 / 9), "a fall and two bars a language"
    assert table["fall"]["tolerance"] == 0.02
    own = power_table(make_recipe(gate={"tolerance": 0.01, "tolerances": {"de": 0.05}}))
    assert own["fall"]["tolerance"] == 0.05, "a fall that is a regression in every language"
    assert table["bars"] == {"off_target": 0.1, "truncated": 0.1}
    assert table["least"] == 7
    off = power_table(make_recipe(gate={"alpha": 0.1, "max_off_target": 1, "max_truncated": 1}))
    assert off["fall"]["alpha"] == pytest.approx(0.1 / 3)
    assert (off["bars"], off["least"], off["rows"][0]["bars"]) == ({}, None, {})
    assert [row["items"] for row in table["rows"] if row["own"]] == [300]
    assert table["items"] == 300
    limited = make_recipe(evaluation={"tasks": ["tiny_world_{language}"], "limit": 40})
    assert power_table(limited)["items"] == 40
    unlimited = make_recipe(evaluation={"tasks": ["tiny_world_{language}"], "limit": 1000})
    assert power_table(unlimited)["items"] == 300, "as many as the toy has"
    tasks = ("tiny_world_{language}", "mgsm_paper_{language}")
    twice = {"tasks": tasks, "languages": {tasks[1]: ["en", "es"]}, "limit": 40}
    assert power_table(make_recipe(evaluation=twice))["items"] == 40, "German has one task"


def test_where_the_tasks_decide_there_is_no_own_row():
    files = dict.fromkeys(("en", "es", "de"), "x.jsonl")
    table = power_table(
        make_recipe(
            model={"source": "hf://org/name@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
            prompts={"files": files},
        )
    )
    assert table["items"] is None
    assert [row["items"] for row in table["rows"]] == list(ITEMS)
    assert not any(row["own"] for row in table["rows"])
