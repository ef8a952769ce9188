"""The length penalty of icr: by hand, and against the plain loop of the authors' description."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from lidr.components.pair.rewarders.icr.rewarder import length_penalty
from lidr.components.pair.rewarders.samples import ScoredSample
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.stage import open_stage
from tests.unit.pair.scored import Sample, run, scored_recipe, write
from tests.unit.pair.stages import pairs_of

SHORT, LONG = "Son 4.", "Son 4, y por eso digo que son cuatro libros."


def samples(*pairs: tuple[float, int]) -> list[ScoredSample]:
    """Return samples of these scores and lengths."""
    return [ScoredSample(n, "x" * length, score) for n, (score, length) in enumerate(pairs)]


def test_a_reward_that_grows_with_length_is_penalised_until_lengths_are_equal():
    """10 nats over 100 characters: from 0.1 a character on, the shorter one wins."""
    groups = [samples((10.0, 200), (0.0, 100)), samples((-1.0, 150), (0.0, 50))]
    penalty = length_penalty(groups, 1.0)
    assert penalty == pytest.approx(0.0), "one long, one short: they balance without any"
    assert length_penalty([samples((10.0, 200), (0.0, 100), (-1.0, 200))], 1.0) == 0.0
    longer = [samples((10.0, 200), (0.0, 100)), samples((2.0, 180), (0.0, 80))]
    assert length_penalty(longer, 1.0) == pytest.approx(0.02, abs=0.0011)


def test_beta_changes_no_penalty():
    groups = [samples((10.0, 200), (0.0, 100)), samples((2.0, 180), (0.0, 80))]
    scaled = [[ScoredSample(s.sample, s.text, 0.1 * s.score) for s in group] for group in groups]
    assert length_penalty(groups, 1.0) == length_penalty(scaled, 0.1)


def plainly(groups: list[list[ScoredSample]]) -> float:
    """Return the first of 1,000 penalties with the smallest mean difference of lengths."""
    best, least = 0.0, float("inf")
    for step in range(1000):
        cost = step / 1000
        difference = 0
        for group in groups:
            worth = [s.score - cost * len(s.text) for s in group]
            chosen, rejected = worth.index(max(worth)), worth.index(min(worth))
            difference += len(group[chosen].text) - len(group[rejected].text)
        if abs(difference) < least:
            best, least = cost, abs(difference)
    return best


def test_penalty_is_that_of_a_plain_search():
    rng = random.Random(0)
    for _ in range(5):
        groups = [
            samples(
                *((rng.gauss(0.05 * length, 2), length) for length in rng.choices(range(400), k=4))
            )
            for _ in range(12)
        ]
        assert length_penalty(groups, 1.0) == pytest.approx(plainly(groups))


def test_prompts_with_less_than_two_scores_have_no_say():
    assert length_penalty([samples((3.0, 10)), []], 1.0) == 0.0


def priced(penalty: float) -> Recipe:
    icr = {"reference": "/before", "length_penalty": penalty}
    return scored_recipe(pairing={"icr": icr, "filters": "paper"})


def test_penalty_is_set_by_language_and_stands_in_the_counts(tmp_path: Path):
    long_wins = {(f"p{n}", "es"): [Sample(LONG, 3.0), Sample(SHORT, 0.0)] for n in range(3)}
    short_wins = {(f"p{n}", "de"): [Sample(LONG, 0.0), Sample(SHORT, 3.0)] for n in range(3)}
    given = write(tmp_path, long_wins | short_wins)
    found = pairs_of(run(given, priced(0)))
    chosen = {each.language: each.chosen[0]["content"] for each in found}
    assert chosen == {"es": LONG, "de": SHORT}
    uri = run(given, priced(1))
    assert {each.chosen[0]["content"] for each in pairs_of(uri)} == {SHORT}
    assert open_stage(uri).counts()["length_penalty"] == {"de": 1.0, "es": 1.0}
