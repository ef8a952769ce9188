"""The bars (thresholds) that a reward has to meet, and the words for findings below them."""

from __future__ import annotations

from dataclasses import dataclass

from lidr.components.shared.config.pairing import Pairing, RewardCheck, RewarderName

ROUND_TRIP = "round_trip"
"""The only measure that is a mean (of chrF, 0 to 100) instead of a share."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What a measure has to reach: if it is proven lower, training stops or users are warned.

    Attributes:
        measure: what is measured.
        stop: level below which the verdict is `stop`; None if there is only a warning.
        warn: level below which there is a warning.
        problem: what is wrong below the bar.
        good: what the share counts, to follow `only 40% of 24 from English to Spanish`.
        remedy: what the user can do.
        keeps_verdict: whether the warning leaves the verdict as it is.
    """

    measure: str
    stop: float | None
    warn: float
    problem: str
    good: str
    remedy: str
    keeps_verdict: bool = False


_ANOTHER_MODEL = (
    "Take a model that speaks these languages better, or leave them out of languages.others."
)

_CHECK_REWARDER: dict[RewarderName, str] = {
    "lidr": "Check that languages.dominant is the language this model is best in.",
    "icr": "Check pairing.icr: the policy is the model that was tuned, the reference the one "
    "before.",
    "judge": "Read some judgements of the grade stage, or take a better judge.",
}


def bars_of(pairing: Pairing) -> list[Bar]:
    """Return the bars, the most important first; those that stop come before the others.

    A bar on what a rewarder does not make, such as translations, has nothing to test.
    """
    return [*_stopping_bars(pairing), *_warning_bars(pairing.reward)]


def _stopping_bars(pairing: Pairing) -> list[Bar]:
    rules = pairing.reward
    levels = rules.stopping_shares

    def on_translations(measure: str, problem: str, good: str) -> Bar:
        level = levels[measure]
        return Bar(measure, level, _half_way(level), problem, good, _ANOTHER_MODEL)

    def on_choice(measure: str, problem: str, good: str) -> Bar:
        level, remedy = levels[measure], _CHECK_REWARDER[pairing.rewarder]
        return Bar(measure, level, level, problem, good, remedy)

    return [
        on_translations(
            "on_target",
            "translations are in the wrong language",
            "are in the right one",
        ),
        on_translations(
            "not_copied",
            "the model returns texts as they are instead of translating them",
            "are translated",
        ),
        on_choice(
            "right",
            "the reward is inverted, by the reference answers",
            "choose the one right side",
        ),
        on_choice(
            "agrees",
            "the reward looks inverted, by the dominant answers",
            "choose the one side that ends like the dominant answer",
        ),
        on_translations("numbers", "translations lose numbers", "keep all of them"),
        on_translations("code", "translations change code", "keep it"),
        on_translations("links", "translations lose links", "keep all of them"),
        Bar(
            ROUND_TRIP,
            rules.min_round_trip,
            min(1.5 * rules.min_round_trip, 100.0),
            "little is left of a text that is translated and back again",
            "in chrF (0 to 100)",
            _ANOTHER_MODEL,
        ),
    ]


def _warning_bars(rules: RewardCheck) -> list[Bar]:
    return [
        Bar(
            "rejected_on_target",
            None,
            1 - rules.max_off_target_rejected,
            "rejected texts are in another language than their pair, which teaches language and "
            "not quality",
            "are in its language",
            "pairing.off_target_rejected=drop leaves such pairs out.",
            keeps_verdict=True,
        ),
        Bar(
            "yield",
            None,
            rules.min_yield,
            "few candidates become pairs",
            "can be used",
            "The report's section on pairs says why the others were dropped.",
        ),
        Bar(
            "names",
            None,
            rules.min_names,
            "translations lose names",
            "keep most of them",
            "Read some of them in the report's pair browser.",
        ),
        Bar(
            "length",
            None,
            1 - rules.max_length_outliers,
            "translations are far longer or shorter than their sources",
            "are of a similar length",
            "Look at translation.max_tokens, and read some in the report's pair browser.",
        ),
    ]


def _half_way(level: float) -> float:
    """Return the level half-way to 1; 0, which switches a bar off, stays 0."""
    return (1 + level) / 2 if level > 0 else 0.0
