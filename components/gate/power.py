"""The gate's power: how large a gain it detects with how many items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, log, sqrt
from statistics import NormalDist
from typing import Any

from lidr.components.shared.config.recipe import Recipe

ACCURACIES = (0.5, 0.7, 0.9)
"""Accuracies of M_t in the table."""

ITEMS = (100, 250, 500, 1000, 2500, 10_000)
"""Items per language in the table, besides the recipe's own number."""

PREDECESSOR_BAR_RATIO = 0.5
"""Assumed share of flawed answers of M_t in the table, relative to the bar."""

_BISECTIONS = 60
"""Halvings of the interval that is searched: beyond the precision of a float."""


@dataclass(frozen=True, slots=True)
class Design:
    """What a comparison's power depends on, besides the number of items.

    Attributes:
        alpha: one-sided level of the test.
        languages: number of languages that the mean is over.
        min_gain: what the gain must exceed, as a fraction.
        tolerance: what the observed gain must exceed, as a fraction; compared without a test.
        power: probability with which a detectable gain is detected.
        correlation: between the differences of one question in two languages.
    """

    alpha: float = 0.05
    languages: int = 1
    min_gain: float = 0.0
    power: float = 0.8
    correlation: float = 0.3
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class PowerRow:
    """One row of the table, gains and falls as fractions; None means that none is detectable.

    Attributes:
        items: per language.
        gains: detectable mean gain over the other languages, for each of `ACCURACIES`.
        falls: detectable fall of one language, for each of `ACCURACIES`.
        bars: detectable share of flawed answers in one language, for each bar.
        own: whether this is the recipe's own number of items.
    """

    items: int
    gains: Sequence[float | None]
    falls: Sequence[float | None]
    bars: Mapping[str, float | None]
    own: bool = False


def detectable_gain(items: int, design: Design, accuracy: float) -> float | None:
    """Return the smallest true gain that is detected with the design's power.

    The normal approximation for McNemar's test (Connor, Biometrics 43, 1987), for a mean over
    languages that share their questions. The models are taken to differ on a share
    accuracy * (1 - accuracy) + gain of the items: without the gain, half of what two independent
    draws would give.

    Args:
        items: per language.
        design: the comparison.
        accuracy: of M_t, as a fraction; the gain is at most 1 - accuracy.

    Returns:
        The gain as a fraction; None if even a model without errors would not be detected.
    """
    churn = accuracy * (1 - accuracy)
    shared = (1 + (design.languages - 1) * design.correlation) / (items * design.languages)
    z_alpha, z_power = (NormalDist().inv_cdf(p) for p in (1 - design.alpha, design.power))

    def exceeds(gain: float) -> bool:
        differing = min(churn + gain, 1.0)
        chance = z_power * sqrt(max(differing - gain**2, 0.0) * shared)
        proven = gain - design.min_gain >= z_alpha * sqrt(differing * shared) + chance
        return proven and gain - design.tolerance >= chance

    return _smallest(exceeds, design.min_gain, 1 - accuracy)


def breaking_share(items: int, design: Design, bar: float, before: float) -> float | None:
    """Return the smallest true share of flawed answers that is detected to break its bar.

    The larger of the share that is detected above the bar (normal approximation of the binomial
    test) and the one that is detected above the predecessor's (as `detectable_gain`).

    Args:
        items: of the language.
        design: level and power of the test, for one language, without `min_gain` and `tolerance`.
        bar: share from 0 to 1.
        before: the predecessor's share.

    Returns:
        The share; None if even flaws in all answers would not be detected.
    """
    z_alpha, z_power = (NormalDist().inv_cdf(p) for p in (1 - design.alpha, design.power))

    def exceeds(share: float) -> bool:
        errors = z_alpha * sqrt(bar * (1 - bar)) + z_power * sqrt(share * (1 - share))
        return share - bar >= errors / sqrt(items)

    above, risen = _smallest(exceeds, bar, 1.0), detectable_gain(items, design, before)
    if above is None or risen is None:
        return None
    return max(above, before + risen)


def harm_design(recipe: Recipe) -> Design:
    """Return the design of one test of a fall or a bar; all of them together have level alpha."""
    return Design(recipe.gate.alpha / (len(recipe.languages.all) * (1 + len(active_bars(recipe)))))


def fall_design(recipe: Recipe) -> Design:
    """Return the design of a regression: a fall that is proven, and beyond every tolerance."""
    tolerance = max(map(recipe.gate.tolerance_of, recipe.languages.all))
    return replace(harm_design(recipe), tolerance=tolerance)


def active_bars(recipe: Recipe) -> dict[str, float]:
    """Return the largest allowed shares of flawed answers, by flaw, without bars of 1 (off)."""
    return {name: bar for name, bar in recipe.gate.bars.items() if bar < 1}


def least_items(alpha: float, tests: int, bar: float) -> int:
    """Return the fewest items with which a bar's test can reject.

    The p-value of the most extreme outcome is 0.5^n (McNemar) or bar^n (binomial).

    Args:
        alpha: level of all tests together.
        tests: how many there are.
        bar: share from 0 to 1.
    """
    chances = [each for each in (0.5, bar) if 0 < each < 1]
    return max(ceil(log(alpha / tests) / log(each)) for each in chances)


def _smallest(holds: Callable[[float], bool], low: float, high: float) -> float | None:
    """Return the smallest number from which `holds` is true, by bisection; None if it never is."""
    if low >= high or not holds(high):
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def power_table(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe's gate can detect, and under which assumptions.

    Returns:
        `items` (the recipe's own number per language, None if the tasks decide), `accuracies`, the
        fields of the designs `gain` and `fall` (which is also that of the bars' tests, but without
        the tolerance), the `bars` with their shares, the `least` items with which all their tests
        can reject (None without bars), and `rows` (fields of `PowerRow`).
    """
    others, rules = recipe.languages.others, recipe.gate
    gain = Design(rules.alpha, len(others), rules.min_gain)
    fall = fall_design(recipe)
    bars = active_bars(recipe)
    own = _own_items(recipe)
    sizes = sorted({*ITEMS, own} if own else {*ITEMS})
    return {
        "items": own,
        "accuracies": list(ACCURACIES),
        "gain": asdict(gain),
        "fall": asdict(fall),
        "bars": bars,
        "least": max((least_items(fall.alpha, 1, bar) for bar in bars.values()), default=None),
        "rows": [asdict(_row(items, gain, fall, bars, own=items == own)) for items in sizes],
    }


def _row(
    items: int, gain: Design, fall: Design, bars: Mapping[str, float], *, own: bool
) -> PowerRow:
    return PowerRow(
        items,
        [detectable_gain(items, gain, accuracy) for accuracy in ACCURACIES],
        # A fall is a gain of the wrong answers.
        [detectable_gain(items, fall, 1 - accuracy) for accuracy in ACCURACIES],
        {
            name: breaking_share(
                items, replace(fall, tolerance=0.0), bar, PREDECESSOR_BAR_RATIO * bar
            )
            for name, bar in bars.items()
        },
        own,
    )


def _own_items(recipe: Recipe) -> int | None:
    """Return the items of the language that has fewest; None if the tasks decide."""
    languages = recipe.languages.all
    tasks = Counter(recipe.evaluation.tasks_in(languages).values())
    return (recipe.items_per_task or 0) * min(tasks[code] for code in languages) or None
