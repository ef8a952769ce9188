"""How fast the gate decides, how often it errs, and whether its power is what `lidr plan` says.

Two copies of one model are simulated: each answers an item right with the item's own probability,
independently of the other, and a question that it solves in one language it tends to solve in the
others. The rule decides on thousands of such pairs, with no language's fall in the way: what it
promotes, it promotes falsely.

The last line is JSON. `seconds_10k_items` is one paired bootstrap of 10,000 items that all differ,
10,000 resamples; `seconds_10k_binary` the same of right and wrong items; `seconds_decision` a whole
decision on 10,000 items in five languages; `false_promotion_rate` that over all simulated pairs,
`worst_false_promotion_rate` the largest of the `cases`, noise included; `power` the share of
detected gains of the size that the power table names.

Usage: python -m benchmarks.gate [--repeats N]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from lidr.components.gate.power import Design, detectable_gain
from lidr.components.gate.rule import decide
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.stats.intervals import bootstrap_mean
from lidr.components.shared.stats.paired import Paired

_CODES = ("es", "de", "fr", "ru", "it", "pt", "pl", "nl", "sv", "da")


@dataclass(frozen=True, slots=True)
class Case:
    """Two copies of a model.

    Attributes:
        items: per language.
        languages: how many others there are.
        accuracies: chances of being right; each belongs to an equal share of the questions.
        correlation: of a model's luck with one question in two languages, from 0 to 1.
    """

    items: int
    languages: int
    accuracies: tuple[float, ...]
    correlation: float


CASES = (
    Case(20, 1, (0.5,), 0.0),
    Case(100, 1, (0.7,), 0.0),
    Case(100, 4, (0.9,), 0.0),
    Case(250, 4, (0.05, 0.5, 0.95), 0.5),
    Case(250, 10, (0.5,), 0.9),
    Case(1000, 4, (0.3, 0.8), 0.9),
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
    rates = []
    for case in CASES:
        rates.append(false_promotions(case, repeats))
        print(f"{case}: {rates[-1]:.3f} promoted", flush=True)
    figures = {
        "seconds_10k_items": _seconds(lambda: bootstrap_mean(distinct)),
        "seconds_10k_binary": _seconds(lambda: bootstrap_mean(binary)),
        "seconds_decision": _seconds(lambda: promoted(five, 10_000)),
        "alpha": 0.05,
        "false_promotion_rate": round(sum(rates) / len(rates), 4),
        "worst_false_promotion_rate": max(rates),
        "cases": [{**asdict(case), "rate": rate} for case, rate in zip(CASES, rates, strict=True)],
        "power": round(detections(250, 4, 0.7, repeats), 4),
    }
    print(json.dumps(figures))


def simulate_copies(case: Case, rng: np.random.Generator) -> list[NDArray[np.float64]]:
    """Return the score differences of two copies of a model, per language."""
    thresholds = [NormalDist().inv_cdf(accuracy) for accuracy in case.accuracies]
    threshold = np.resize(thresholds, case.items)

    def answers() -> NDArray[np.float64]:
        own = rng.standard_normal((case.languages, case.items))
        common = rng.standard_normal(case.items)
        luck = np.sqrt(case.correlation) * common + np.sqrt(1 - case.correlation) * own
        right: NDArray[np.float64] = (luck < threshold).astype(np.float64)
        return right

    return list(answers() - answers())


def promoted(gains: list[NDArray[np.float64]], resamples: int = 1000, seed: int = 0) -> bool:
    """Tell whether the rule promotes a model with these score differences, per language."""
    codes = _CODES[: len(gains)]
    counts = {"off_target": {"value": 0.0}, "truncated": 0.0}
    paired = {
        code: Paired([("task", str(n)) for n in range(len(own))], own, counts, counts)
        for code, own in zip(codes, gains, strict=True)
    }
    return bool(decide(_recipe(codes, resamples, seed), paired, {}, 1, 2)["promoted"])


def false_promotions(case: Case, repeats: int) -> float:
    """Return the share of simulated copies that are promoted."""
    rng = np.random.default_rng(1)
    found = [promoted(simulate_copies(case, rng), seed=number) for number in range(repeats)]
    return sum(found) / repeats


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


def _recipe(codes: tuple[str, ...], resamples: int, seed: int) -> Recipe:
    return Recipe.model_validate(
        {
            "name": "simulation",
            "seed": seed,
            "languages": {"dominant": "en", "others": codes},
            "model": {"source": "simulated"},
            "prompts": {"files": dict.fromkeys(("en", *codes), "none.jsonl")},
            "evaluation": {"tasks": ["task_{language}"]},
            "gate": {"resamples": resamples, "tolerance": 1.0},
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
