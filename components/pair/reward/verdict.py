"""The verdict on a reward before it is trained on: train, warn or stop, with reasons.

So that chance alone hardly ever stops a run, each bar is tested (exact binomial test; sign flips
for round trips) in each direction and in pools of them, with Holm's correction over all tests.
Texts of one prompt are not independent: a share is worth fewer texts than it counts
(`stats.clustered`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lidr.components.pair.reward.bars import ROUND_TRIP, Bar, bars_of
from lidr.components.pair.reward.observations import Observations
from lidr.components.pair.stage import min_pairs
from lidr.components.shared.config.pairing import Pairing
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.stats.clustered import Share, clustered_share
from lidr.components.shared.stats.intervals import Interval, bootstrap_mean
from lidr.components.shared.stats.significance import holm, sign_flip

Level = Literal["stop", "warn", "note"]

_CONTENT_MEASURES = ("numbers", "code", "links", "right", "agrees")
"""Measures of content: at least one must be verifiable."""

_OVERALL = ("*-*", "*")
"""Places that pool all directions, or all languages."""

_MAX_NAMED = 3
"""Most places or reasons that a sentence names; further ones are only counted."""

_RESAMPLES = 2000

_CLOSE = 20
"""More resamples are drawn only if fewer than about this many were as extreme as the data."""


@dataclass(frozen=True, slots=True)
class RewardFinding:
    """Something that is wrong with a reward.

    Attributes:
        level: `stop`, `warn`, or `note` for a warning that leaves the verdict as it is.
        measure: the measure that shows it.
        text: a sentence for users.
        remedy: what they can do.
        places: the directions or languages it was proven in, or the pools of them.
        p: the smallest corrected p-value; 0 if nothing was tested.
    """

    level: Level
    measure: str
    text: str
    remedy: str
    places: tuple[str, ...] = ()
    p: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """What was measured in a direction or a language, or in several pooled.

    Attributes:
        shares: by measure.
        round_trip: mean chrF (0 to 100) of the round trips; `n` counts them.
        trips: mean chrF of each prompt's round trips, shape (prompts,).
        length_ratio: median of `Observations.length_ratios`.
    """

    shares: Mapping[str, Share]
    round_trip: Interval
    trips: NDArray[np.float64]
    length_ratio: float

    def is_verifiable(self, measure: str, min_texts: int) -> bool:
        """Tell whether a measure has `min_texts` independent texts: those of different prompts."""
        if measure == ROUND_TRIP:
            return len(self.trips) >= min_texts
        return measure in self.shares and self.shares[measure].clusters >= min_texts

    def to_counts(self, min_texts: int) -> dict[str, Any]:
        """Return the Interval of each measure, and which measures are verifiable."""
        return {
            **{name: share.interval for name, share in self.shares.items()},
            ROUND_TRIP: self.round_trip,
            "length_ratio": self.length_ratio,
            "verifiable": [
                name for name in (*self.shares, ROUND_TRIP) if self.is_verifiable(name, min_texts)
            ],
        }


Places = Mapping[str, Place]


class _Tested(NamedTuple):
    bar: Bar
    place: str
    p: float


def measure(seen: Mapping[str, Observations]) -> dict[str, Place]:
    """Return what was measured in each place."""
    return {key: _measure_place(found) for key, found in seen.items()}


def _measure_place(seen: Observations) -> Place:
    scores: dict[str, list[float]] = defaultdict(list)
    for prompt_id, score in seen.round_trips:
        scores[prompt_id].append(score)
    trips = np.array([fmean(each) for each in scores.values()])
    mean = bootstrap_mean(trips, resamples=_RESAMPLES)
    return Place(
        {name: clustered_share(found) for name, found in seen.outcomes.items()},
        Interval(
            {**mean, "high": mean["high"] if len(trips) else 100.0, "n": len(seen.round_trips)}
        ),
        trips,
        median(seen.length_ratios or [0.0]),
    )


def findings(
    settings: Recipe, places: Places, pairs: int, identical_share: float
) -> list[RewardFinding]:
    """Return what is wrong, the most serious first.

    Args:
        settings: the recipe.
        places: what was measured (`measure`).
        pairs: how many there are to train on.
        identical_share: share of candidates whose sides are identical, of those with both sides.
    """
    rules = settings.pairing.reward
    found = [*_too_few(settings, pairs), *_broken_bars(settings, places)]
    if identical_share > rules.max_identical:
        text = (
            f"{identical_share:.0%} of the candidates with both sides have identical ones: little "
            "is left to learn"
        )
        remedy = (
            "Read some of them; more samples or a higher temperature give more different answers."
        )
        found.append(RewardFinding("warn", "identical", text, remedy))
    overall = next(place for key, place in places.items() if key in _OVERALL)
    if not any(overall.is_verifiable(name, rules.min_texts) for name in _CONTENT_MEASURES):
        found.append(_unverifiable(settings.pairing, rules.min_texts))
    return sorted(found, key=lambda each: ("stop", "warn", "note").index(each.level))


def _unverifiable(pairing: Pairing, min_texts: int) -> RewardFinding:
    if pairing.rewarder == "lidr":
        text = (
            "whether content survives is not verifiable here: fewer than "
            f"{min_texts} texts hold numbers, code or links, or have a reference answer"
        )
        remedy = "Include prompts with reference answers or numbers, and read some pairs."
    else:
        text = (
            "whether the better text is chosen is not verifiable here: in fewer than "
            f"{min_texts} pairs the prompt's reference answer shows that only one side is right"
        )
        remedy = "Include prompts with reference answers, and read some pairs."
    return RewardFinding("warn", "unverifiable", text, remedy)


def verdict_of(found: Sequence[RewardFinding]) -> str:
    """Return `stop`, `warn` or `train`."""
    levels = {each.level for each in found}
    return next((level for level in ("stop", "warn") if level in levels), "train")


def reason_of(found: Sequence[RewardFinding]) -> str:
    """Return the reasons for a verdict of stop or warn, as one line; "" for train."""
    verdict = verdict_of(found)
    texts = [each.text for each in found if each.level == verdict]
    more = [f"and {len(texts) - _MAX_NAMED} more"] if len(texts) > _MAX_NAMED else []
    return "; ".join(texts[:_MAX_NAMED] + more)


def to_counts(found: Sequence[RewardFinding]) -> list[dict[str, Any]]:
    """Return findings as the marker stores them."""
    return [{**asdict(each), "places": list(each.places)} for each in found]


def _too_few(settings: Recipe, pairs: int) -> Iterator[RewardFinding]:
    needed, training = min_pairs(settings), settings.training
    if pairs < needed:
        text = (
            f"{pairs:,} pairs are too few for {_steps(settings.pairing.reward.min_steps)} of "
            f"training.batch_size {training.batch_size:,}: {needed:,} are needed"
        )
        remedy = "Use more prompts, a smaller batch, or see why candidates were dropped."
        yield RewardFinding("stop", "pairs", text, remedy)


def _steps(count: float) -> str:
    return "one optimizer step" if count == 1 else f"{count:g} optimizer steps"


def _broken_bars(settings: Recipe, places: Places) -> Iterator[RewardFinding]:
    """Yield a finding for each bar proven broken, at its stop level or else its warn level."""
    bars = bars_of(settings.pairing)
    stopped: set[str] = set()
    levels: tuple[Level, ...] = ("stop", "warn")
    for level in levels:
        proven = _proven(settings, bars, places, level)
        for bar in bars:
            own = [each for each in proven if each.bar is bar]
            if own and bar.measure not in stopped:
                yield _finding("note" if bar.keeps_verdict else level, bar, own, places)
        stopped |= {each.bar.measure for each in proven}


def _proven(settings: Recipe, bars: Sequence[Bar], places: Places, level: str) -> list[_Tested]:
    rules = settings.pairing.reward
    asked = [
        (bar, key, limit)
        for bar in bars
        if (limit := bar.stop if level == "stop" else bar.warn)
        for key, place in places.items()
        if place.is_verifiable(bar.measure, rules.min_texts)
    ]
    needed = rules.alpha / len(asked) if asked else 0.0
    tested = [
        _Tested(bar, key, _p_value(places[key], bar.measure, limit, settings.seed, needed))
        for bar, key, limit in asked
    ]
    adjusted = holm([each.p for each in tested])
    return [
        each._replace(p=p) for each, p in zip(tested, adjusted, strict=True) if p <= rules.alpha
    ]


def _p_value(place: Place, measure: str, limit: float, seed: int, needed: float) -> float:
    """Return the p-value for a measure below a limit; Holm's first test needs at most `needed`."""
    if measure != ROUND_TRIP:
        return place.shares[measure].p_below(limit)

    def p_of(resamples: int) -> float:
        short = limit - place.trips
        return sign_flip(short, alternative="greater", resamples=resamples, seed=seed)

    p, enough = p_of(_RESAMPLES), math.ceil(10 / needed)
    # Resamples show no p below 1 / (1 + resamples), which is not enough where tests are many.
    return p_of(enough) if p * _RESAMPLES < _CLOSE and enough > _RESAMPLES else p


def _finding(level: Level, bar: Bar, proven: Sequence[_Tested], places: Places) -> RewardFinding:
    shown = _narrowest([each.place for each in proven])
    parts = [_measured_words(bar, key, places[key]) for key in shown[:_MAX_NAMED]]
    more = [f"and {len(shown) - _MAX_NAMED} more"] if len(shown) > _MAX_NAMED else []
    text = f"{bar.problem}: only {', '.join(parts + more)} {bar.good}; {_bar_words(bar, level)}"
    return RewardFinding(
        level, bar.measure, text, bar.remedy, tuple(shown), min(e.p for e in proven)
    )


def _narrowest(proven: Sequence[str]) -> list[str]:
    """Return the single directions or languages if there are any, else the narrowest pools."""
    single = [place for place in proven if "*" not in place]
    narrow = [place for place in proven if place not in _OVERALL]
    return single or narrow or list(proven)


def _measured_words(bar: Bar, key: str, place: Place) -> str:
    where = place_words(key)
    if bar.measure == ROUND_TRIP:
        return f"{place.round_trip['value']:.0f} {where}"
    share = place.shares[bar.measure]
    return f"{share.value:.0%} of {share.n:,} {where}"


def _bar_words(bar: Bar, level: Level) -> str:
    limit = bar.stop if level == "stop" else bar.warn
    shown = f"{limit:.0f}" if bar.measure == ROUND_TRIP else f"{limit:.0%}"
    return f"the bar is {shown}" if level == "stop" else f"{shown} or more would be good"


def place_words(place: str) -> str:
    """Return a place in words: `from English to Spanish`, `into English`, `in Spanish`."""
    source, way, target = place.partition("-")
    if not way:
        return "in all languages" if place in _OVERALL else f"in {NAMES[place]}"
    if source == target:
        return "in all directions"
    parts = [f"from {NAMES[source]}"] if source != "*" else []
    if target != "*":
        parts.append(f"to {NAMES[target]}" if parts else f"into {NAMES[target]}")
    return " ".join(parts)
