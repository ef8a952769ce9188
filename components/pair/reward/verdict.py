"""The verdict on a reward before it is trained on: train, warn or stop, with reasons.

Nothing stops by chance: each bar is an exact test (binomial; of round trips, sign flips) of each
direction and of directions pooled, corrected by Holm over all of them. Texts of one prompt are not
independent, so shares are worth fewer texts than they count (`stats.clustered`).
"""

from __future__ import annotations

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
from lidr.components.shared.stats.tests import holm, sign_flip

Level = Literal["stop", "warn", "note"]

_EVIDENCE = ("numbers", "code", "links", "right", "agrees")
"""Measures of content, of which one at least must be verifiable."""

_ALL = ("*-*", "*")
"""Places that pool all directions, or all languages."""

_MAX_NAMED = 3
_RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a reward.

    Attributes:
        level: `stop`, `warn`, or `note` for a warning that leaves the verdict as it is.
        measure: that shows it.
        text: a sentence for people.
        remedy: what they can do.
        places: the directions or languages it was proven in, or the pools of them.
        p: the smallest p-value, corrected; 0 where nothing was tested.
    """

    level: Level
    measure: str
    text: str
    remedy: str
    places: tuple[str, ...] = ()
    p: float = 0.0


@dataclass(frozen=True, slots=True)
class Place:
    """What was measured of a direction or a language, or of several pooled.

    Attributes:
        shares: by measure.
        round_trip: mean chrF (0 to 100) of the round trips; `n` counts them.
        trips: mean chrF of each prompt's round trips, shape (prompts,).
        length_ratio: median of the characters of a translation by those of its source, or of a
            chosen text by those of the rejected one.
    """

    shares: Mapping[str, Share]
    round_trip: Interval
    trips: NDArray[np.float64]
    length_ratio: float

    def is_verifiable(self, measure: str, least: int) -> bool:
        """Tell whether there are as many independent texts, of one prompt each, as a bar needs."""
        if measure == ROUND_TRIP:
            return len(self.trips) >= least
        return measure in self.shares and self.shares[measure].clusters >= least

    def to_counts(self, least: int) -> dict[str, Any]:
        """Return an Interval of each measure, and which of them there is enough of for a bar."""
        return {
            **{name: share.interval for name, share in self.shares.items()},
            ROUND_TRIP: self.round_trip,
            "length_ratio": self.length_ratio,
            "verifiable": [
                name for name in (*self.shares, ROUND_TRIP) if self.is_verifiable(name, least)
            ],
        }


Places = Mapping[str, Place]


class _Tested(NamedTuple):
    bar: Bar
    place: str
    p: float


def measure(seen: Mapping[str, Observations]) -> dict[str, Place]:
    """Return what was measured in each place."""
    return {key: _place(found) for key, found in seen.items()}


def _place(seen: Observations) -> Place:
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


def findings(settings: Recipe, places: Places, pairs: int, identical_share: float) -> list[Finding]:
    """Return what is wrong, the weightiest first.

    Args:
        settings: the recipe.
        places: what was measured (`measure`).
        pairs: how many there are to train on.
        identical_share: of pairs with identical sides.
    """
    rules = settings.pairing.reward
    found = [*_too_few(settings, pairs), *_broken(settings, places)]
    if identical_share > rules.max_identical:
        text = f"{identical_share:.0%} of the pairs have identical sides: little is left to learn"
        found.append(Finding("warn", "identical", text, "The filter `identical` drops them."))
    whole = next(place for key, place in places.items() if key in _ALL)
    if not any(whole.is_verifiable(name, rules.min_texts) for name in _EVIDENCE):
        found.append(_unverifiable(settings.pairing, rules.min_texts))
    return sorted(found, key=lambda each: ("stop", "warn", "note").index(each.level))


def _unverifiable(pairing: Pairing, least: int) -> Finding:
    if pairing.rewarder == "lidr":
        text = (
            "whether content survives is not verifiable here: fewer than "
            f"{least} texts hold numbers, code, links or have a reference answer"
        )
        remedy = "Use prompts with reference answers or numbers among others, and read some pairs."
    else:
        text = (
            "whether the better text is chosen is not verifiable here: there are fewer than "
            f"{least} pairs of which the prompt's reference answer calls one side right"
        )
        remedy = "Use prompts with reference answers among others, and read some pairs."
    return Finding("warn", "unverifiable", text, remedy)


def verdict_of(found: Sequence[Finding]) -> str:
    """Return `stop`, `warn` or `train`."""
    levels = {each.level for each in found}
    return next((level for level in ("stop", "warn") if level in levels), "train")


def reason_of(found: Sequence[Finding]) -> str:
    """Return why it is stop, or warn, as one line; "" where it is train."""
    verdict = verdict_of(found)
    texts = [each.text for each in found if each.level == verdict]
    more = [f"and {len(texts) - _MAX_NAMED} more"] if len(texts) > _MAX_NAMED else []
    return "; ".join(texts[:_MAX_NAMED] + more)


def to_counts(found: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return findings as the marker holds them."""
    return [{**asdict(each), "places": list(each.places)} for each in found]


def _too_few(settings: Recipe, pairs: int) -> Iterator[Finding]:
    needed, training = min_pairs(settings), settings.training
    if pairs < needed:
        text = (
            f"{pairs:,} pairs are too few for {_steps(settings.pairing.reward.min_steps)} of "
            f"training.batch_size {training.batch_size:,}: {needed:,} are needed"
        )
        remedy = "Use more prompts, a smaller batch, or see why candidates were dropped."
        yield Finding("stop", "pairs", text, remedy)


def _steps(count: float) -> str:
    return "one optimizer step" if count == 1 else f"{count:g} optimizer steps"


def _broken(settings: Recipe, places: Places) -> Iterator[Finding]:
    """Yield what is proven: first by the bars that stop, then by those that warn."""
    bars = bars_of(settings.pairing)
    stopped: set[str] = set()
    levels: tuple[Level, ...] = ("stop", "warn")
    for level in levels:
        proven = _proven(settings, bars, places, level)
        for bar in bars:
            own = [each for each in proven if each.bar is bar]
            if own and bar.measure not in stopped:
                yield _finding("note" if bar.noted else level, bar, own, places)
        stopped |= {each.bar.measure for each in proven}


def _proven(settings: Recipe, bars: Sequence[Bar], places: Places, level: str) -> list[_Tested]:
    rules = settings.pairing.reward
    tested = [
        _Tested(bar, key, _p(place, bar.measure, limit, settings.seed))
        for bar in bars
        if (limit := bar.stop if level == "stop" else bar.warn)
        for key, place in places.items()
        if place.is_verifiable(bar.measure, rules.min_texts)
    ]
    adjusted = holm([each.p for each in tested])
    return [
        each._replace(p=p) for each, p in zip(tested, adjusted, strict=True) if p <= rules.alpha
    ]


def _p(place: Place, measure: str, limit: float, seed: int) -> float:
    if measure != ROUND_TRIP:
        return place.shares[measure].below(limit)
    short = limit - place.trips
    return sign_flip(short, alternative="greater", resamples=_RESAMPLES, seed=seed)


def _finding(level: Level, bar: Bar, proven: Sequence[_Tested], places: Places) -> Finding:
    shown = _shown([each.place for each in proven])
    parts = [_part(bar, key, places[key]) for key in shown[:_MAX_NAMED]]
    more = [f"and {len(shown) - _MAX_NAMED} more"] if len(shown) > _MAX_NAMED else []
    text = f"{bar.problem}: only {', '.join(parts + more)} {bar.good}; {_limit(bar, level)}"
    return Finding(level, bar.measure, text, bar.remedy, tuple(shown), min(e.p for e in proven))


def _shown(proven: Sequence[str]) -> list[str]:
    """Return the directions where there are any, else the narrowest pools."""
    single = [place for place in proven if "*" not in place]
    narrow = [place for place in proven if place not in _ALL]
    return single or narrow or list(proven)


def _part(bar: Bar, key: str, place: Place) -> str:
    where = place_words(key)
    if bar.measure == ROUND_TRIP:
        return f"{place.round_trip['value']:.0f} {where}"
    share = place.shares[bar.measure]
    return f"{share.value:.0%} of {share.n:,} {where}"


def _limit(bar: Bar, level: Level) -> str:
    stops = level == "stop" and bar.stop is not None
    limit = bar.stop if stops and bar.stop is not None else bar.warn
    shown = f"{limit:.0f}" if bar.measure == ROUND_TRIP else f"{limit:.0%}"
    return f"the bar is {shown}" if stops else f"{shown} or more would be well"


def place_words(place: str) -> str:
    """Return a place in words: `from English to Spanish`, `into English`, `in Spanish`."""
    source, way, target = place.partition("-")
    if not way:
        return "in all languages" if place in _ALL else f"in {NAMES[place]}"
    if source == target:
        return "in all directions"
    parts = [f"from {NAMES[source]}"] if source != "*" else []
    if target != "*":
        parts.append(f"to {NAMES[target]}" if parts else f"into {NAMES[target]}")
    return " ".join(parts)
