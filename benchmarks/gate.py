"""How fast the gate decides, how often it errs, and whether its power is what `lidr plan` says.

Two copies of one model are simulated: each answers an item right with the item's own probability,
independently of the other, and a question that it solves in one language it tends to solve in the
others; answers are cut, or in another language, by chances of their own. The rule decides on
thousands of such pairs: with no language's fall in the way, what it promotes, it promotes falsely;
with a tolerance of 0, what it stops for a fall or a broken bar, it stops falsely. (That two copies
are a plateau is right.)

The last line is JSON. `seconds_10k_items` is one paired bootstrap of 10,000 items that all differ,
10,000 resamples; `seconds_10k_binary` the same of right and wrong items; `seconds_decision` a whole
decision on 10,000 items in five languages; `false_promotion_rate` that over all simulated pairs,
`worst_false_promotion_rate` the largest of the `cases`, noise included; `false_stop_rate` and
`worst_false_stop_rate` the same of stops; `power`, `fall_power` and `bar_power` the share of
detected gains, of regressions and of broken bars, all of the size that the power table names.

Usage: python -m benchmarks.gate [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidr.components.gate.harms import BARS
from lidr.components.gate.power import (
    PREDECESSOR_BAR_RATIO,
    Design,
    breaking_share,
    detectable_gain,
    fall_design,
    harm_design,
)
from lidr.components.gate.rule import decide
from lidr.components.shared.config.evaluation import Gate
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.stats.intervals import bootstrap_mean
from lidr.components.shared.stats.paired import Marks, PairedItems

_CODES = ("es", "de", "fr", "ru", "it", "pt", "pl", "nl", "sv", "da")


@dataclass(frozen=True, slots=True)
class Case:
    """Two copies of a model.

    Attributes:
        items: per language.
        languages: how many others there are.
        accuracies: chances of being right; each belongs to an equal share of the questions.
        correlation: of a model's luck with one question in two languages, from 0 to 1.
        flawed: chances of an answer that is cut, and of one in another language, likewise.
    """

    items: int
    languages: int
    accuracies: tuple[float, ...]
    correlation: float
    flawed: tuple[float, ...] = (0.1,)


CASES = (
    Case(20, 1, (0.5,), 0.0),
    Case(12, 4, (0.5,), 0.5, (0.67,)),
    Case(100, 1, (0.7,), 0.0, (0.12,)),
    Case(100, 4, (0.9,), 0.0, (0.3,)),
    Case(250, 4, (0.05, 0.5, 0.95), 0.5, (0.02, 0.2)),
    Case(250, 10, (0.5,), 0.9, (0.5,)),
    Case(1000, 4, (0.3, 0.8), 0.9, (0.05, 0.9)),
)


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--repeats", type=int, default=2000, help="simulated pairs of models a case"
    )
    repeats = parser.parse_args().repeats
    rng = np.random.default_rng(0)
    distinct, binary = rng.normal(size=10_000), rng.choice([-1.0, 0.0, 1.0], 10_000)
    five = simulate_copies(Case(2000, 5, (0.6,), 0.5), rng)
    rates, stops = [], []
    for case in CASES:
        rates.append(false_promotions(case, repeats))
        stops.append(false_stops(case, repeats))
        print(f"{case}: {rates[-1]:.3f} promoted, {stops[-1]:.3f} stopped", flush=True)
    figures = {
        "seconds_10k_items": _seconds(lambda: bootstrap_mean(distinct)),
        "seconds_10k_binary": _seconds(lambda: bootstrap_mean(binary)),
        "seconds_decision": _seconds(lambda: promoted(five, 10_000)),
        "alpha": 0.05,
        "false_promotion_rate": round(sum(rates) / len(rates), 4),
        "worst_false_promotion_rate": max(rates),
        "false_stop_rate": round(sum(stops) / len(stops), 4),
        "worst_false_stop_rate": max(stops),
        "cases": [
            {**asdict(case), "rate": rate, "stop_rate": stop}
            for case, rate, stop in zip(CASES, rates, stops, strict=True)
        ],
        "power": round(detections(250, 4, 0.7, repeats), 4),
        "fall_power": round(regressions(250, 4, 0.7, repeats), 4),
        "bar_power": round(broken_bars(250, 4, repeats), 4),
    }
    print(json.dumps(figures))


def simulate_copies(case: Case, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the score differences of two copies of a model, per language."""
    return list(
        _happens(case, case.accuracies, rng).astype(np.float64)
        - _happens(case, case.accuracies, rng)
    )


def simulate_marks(case: Case, rng: np.random.Generator) -> list[Marks]:
    """Return which answers of two copies of a model have a flaw, per language."""
    before, after = (_happens(case, case.flawed, rng) for _ in range(2))
    return [Marks(*both) for both in zip(before, after, strict=True)]


def _happens(case: Case, chances: tuple[float, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw what a model does with each item, shape (languages, items)."""
    threshold = np.resize([NormalDist().inv_cdf(chance) for chance in chances], case.items)
    own = rng.standard_normal((case.languages, case.items))
    common = rng.standard_normal(case.items)
    luck = np.sqrt(case.correlation) * common + np.sqrt(1 - case.correlation) * own
    happens: NDArray[np.bool_] = luck < threshold
    return happens


def promoted(gains: list[NDArray[np.float64]], resamples: int = 1000, seed: int = 0) -> bool:
    """Tell whether the rule promotes a model with these score differences, per language."""
    nothing = [Marks()] * len(gains)
    return bool(_decided(gains, nothing, nothing, 1.0, resamples, seed)["promoted"])


def false_promotions(case: Case, repeats: int) -> float:
    """Return the share of simulated copies that are promoted."""
    rng = np.random.default_rng(1)
    found = [promoted(simulate_copies(case, rng), seed=number) for number in range(repeats)]
    return sum(found) / repeats


def false_stops(case: Case, repeats: int) -> float:
    """Return the share of simulated copies that are stopped for a fall or a broken bar."""
    rng = np.random.default_rng(3)
    causes = [
        _decided(
            simulate_copies(case, rng),
            simulate_marks(case, rng),
            simulate_marks(case, rng),
            tolerance=0.0,
            resamples=100,  # of the intervals alone: all tests of a stop have a closed form
            seed=number,
        )["cause"]
        for number in range(repeats)
    ]
    return sum(cause in ("regression", *BARS) for cause in causes) / repeats


def broken_bars(items: int, languages: int, repeats: int) -> float:
    """Return how often a share as large as the power table asks for breaks its bar."""
    recipe, rng = _recipe(_CODES[:languages], 1000, 0, 1.0), np.random.default_rng(4)
    before = PREDECESSOR_BAR_RATIO * (bar := recipe.gate.max_truncated)
    after = breaking_share(items, harm_design(recipe), bar, before)
    if after is None:
        raise ValueError(f"no share breaks the bar with {items} items")
    churn, gain = before * (1 - before), after - before
    chances = [churn / 2 + gain, churn / 2, before - churn / 2]  # new only, old only, both
    same = [np.zeros(items)] * languages
    clean = [Marks(np.zeros(items, dtype=np.bool_), np.zeros(items, dtype=np.bool_))] * languages
    found = 0
    for number in range(repeats):
        drawn = rng.choice(4, items, p=[*chances, 1 - sum(chances)])
        raised = [Marks((drawn == 1) | (drawn == 2), (drawn == 0) | (drawn == 2)), *clean[1:]]
        found += _decided(same, clean, raised, 1.0, 100, number)["cause"] == "truncated"
    return found / repeats


def regressions(items: int, languages: int, accuracy: float, repeats: int) -> float:
    """Return how often a fall as large as the power table asks for is stopped as a regression."""
    tolerance = Gate().tolerance
    design = fall_design(_recipe(_CODES[:languages], 1000, 0, tolerance))
    fall = detectable_gain(items, design, 1 - accuracy)
    if fall is None:
        raise ValueError(f"no fall is detectable with {items} items")
    churn, rng = accuracy * (1 - accuracy), np.random.default_rng(5)
    chances = [churn / 2 + fall, 1 - churn - fall, churn / 2]
    same = [np.zeros(items)] * (languages - 1)
    clean = [Marks(np.zeros(items, dtype=np.bool_), np.zeros(items, dtype=np.bool_))] * languages
    found = 0
    for number in range(repeats):
        fallen = rng.choice([-1.0, 0.0, 1.0], items, p=chances)
        decided = _decided([fallen, *same], clean, clean, tolerance, 100, number)
        found += decided["cause"] == "regression"
    return found / repeats


def detections(items: int, languages: int, accuracy: float, repeats: int) -> float:
    """Return how often a gain is promoted that is as large as the power table asks for."""
    design = Design(languages=languages, correlation=0.0)
    gain = detectable_gain(items, design, accuracy)
    if gain is None:
        raise ValueError(f"no gain is detectable with {items} items")
    churn, rng = accuracy * (1 - accuracy), np.random.default_rng(2)
    chances = [churn / 2, 1 - churn - gain, churn / 2 + gain]
    found = [
        promoted(list(rng.choice([-1.0, 0.0, 1.0], (languages, items), p=chances)), seed=number)
        for number in range(repeats)
    ]
    return sum(found) / repeats


def _decided(
    gains: list[NDArray[np.float64]],
    off_target: list[Marks],
    truncated: list[Marks],
    tolerance: float,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    codes = _CODES[: len(gains)]
    paired = {
        code: PairedItems([("task", str(n)) for n in range(len(own))], own, *marks)
        for code, own, *marks in zip(codes, gains, off_target, truncated, strict=True)
    }
    return decide(_recipe(codes, resamples, seed, tolerance), paired, 1, 2)


def _recipe(codes: tuple[str, ...], resamples: int, seed: int, tolerance: float) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "simulation",
            "seed": seed,
            "languages": {"dominant": "en", "others": codes},
            "model": {"source": "simulated"},
            "prompts": {"files": dict.fromkeys(("en", *codes), "none.jsonl")},
            "evaluation": {"tasks": ["task_{language}"]},
            "gate": {"resamples": resamples, "tolerance": tolerance},
        }
    )


def _seconds(function: Callable[[], object], times: int = 5) -> float:
    """Return the least of the seconds a call takes: what other processes take is not its own."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        function()
        found.append(time.perf_counter() - began)
    return round(min(found), 3)


if __name__ == "__main__":
    main()
