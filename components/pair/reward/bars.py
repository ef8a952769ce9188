"""The bars that a reward has to meet, and what is said where it does not."""

from __future__ import annotations

from dataclasses import dataclass

from lidr.components.shared.config.pairing import Pairing, RewarderName

ROUND_TRIP = "round_trip"
"""The one measure that is a mean, of chrF, and no share."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A share that must not be proven to lie below a level.

    Attributes:
        measure: what is measured.
        stop: level below which training does not begin; None where there is only a warning.
        warn: level below which there is a warning.
        noted: whether that warning leaves the verdict as it is.
        problem: what is wrong where it is broken.
        good: what is said of the share, in words that follow `only 40% of 24 texts`.
        remedy: what the user can do.
    """

    measure: str
    stop: float | None
    warn: float
    problem: str
    good: str
    remedy: str
    noted: bool = False


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
    """Return the bars in the order of their weight; those that stop come first.

    Bars on what a rewarder does not make, such as translations, cannot be broken.
    """
    rules = pairing.reward

    def stopping(measure: str, level: float, problem: str, good: str, remedy: str) -> Bar:
        return Bar(measure, level, _half_way(level), problem, good, remedy)

    faithful = rules.min_faithfulness
    return [
        stopping(
            "on_target",
            rules.min_on_target,
            "translations are in the wrong language",
            "are in the right one",
            _ANOTHER_MODEL,
        ),
        stopping(
            "not_copied",
            1 - rules.max_copies,
            "the model returns texts as they are instead of translating them",
            "are translated",
            _ANOTHER_MODEL,
        ),
        Bar(
            "right",
            rules.min_agreement,
            rules.min_agreement,
            "the reward is inverted: of pairs with one side right, by the reference answers",
            "have it as the chosen one",
            _CHECK_REWARDER[pairing.rewarder],
        ),
        Bar(
            "agrees",
            rules.min_agreement,
            rules.min_agreement,
            "the reward looks inverted: of pairs with one side that ends like the dominant answer",
            "have it as the chosen one",
            _CHECK_REWARDER[pairing.rewarder],
        ),
        stopping(
            "numbers", faithful, "translations lose numbers", "keep all of them", _ANOTHER_MODEL
        ),
        stopping("code", faithful, "translations change code", "keep it", _ANOTHER_MODEL),
        stopping("links", faithful, "translations lose links", "keep all of them", _ANOTHER_MODEL),
        Bar(
            ROUND_TRIP,
            rules.min_round_trip,
            min(1.5 * rules.min_round_trip, 100.0),
            "little is left of a text that is translated and back again",
            "of 100 in chrF",
            _ANOTHER_MODEL,
        ),
        Bar(
            "rejected_on_target",
            None,
            1 - rules.max_off_target_rejected,
            "rejected texts are in another language than their pair, which teaches language and "
            "not quality",
            "are in its language",
            "pairing.off_target_rejected=drop leaves such pairs out.",
            noted=True,
        ),
        Bar(
            "yield",
            None,
            rules.min_yield,
            "few candidates become pairs",
            "can be used",
            "See why the others were dropped.",
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
    """Return the level half-way to perfection; 0 stays 0, which is switched off."""
    return (1 + level) / 2 if level > 0 else 0.0
