"""Whether the reward can be trusted: do translations keep the content, and does better win?

The reward of the method rests on two things that can break without any error: the model translates
faithfully, and its dominant-language answers are the better ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics import CHRF

from lidr.components.pair.candidates import Candidate, Sources
from lidr.components.shared.config.recipe import Languages
from lidr.components.shared.numbers.answer import extract_number
from lidr.components.shared.numbers.preserved import keeps_numbers
from lidr.components.shared.records.schema import Kind
from lidr.components.shared.stats.intervals import Interval, wilson

_MIN_EVIDENCE = 10
_FAITHFUL = 0.9
_IDENTICAL = 0.6


def direction_faithfulness(languages: Languages, samples: Sequence[Sources]) -> dict[str, Any]:
    """Return, for each direction `source-target`, how well translations keep the content.

    `numbers_preserved` is the share of translations of texts with numbers that hold the same
    numbers, written in whatever way can be read (an Interval); `round_trip` the mean chrF
    (0 to 100; Popović 2015) between a response and its translation translated back.
    """
    dominant = languages.dominant
    pairs = [(dominant, other) for other in languages.others]
    return {
        f"{source}-{target}": {
            "numbers_preserved": _numbers_preserved(samples, source, target),
            "round_trip": _round_trip(samples, source, target),
        }
        for source, target in pairs + [(other, dominant) for _, other in pairs]
    }


def reward_agreement(
    languages: Languages, samples: Sequence[Sources], found: Sequence[Candidate]
) -> dict[str, Any]:
    """Return, per other language, how often the side that agrees with the dominant answer wins.

    Only pairs count in which exactly one side gives the number that the dominant response gives.
    Below one half (the whole interval) the reward is inverted: the model's own answers agree
    more often than their supposed betters.
    """
    agreement = {}
    for code in languages.others:
        votes = [
            vote
            for candidate in found
            if candidate.language == code and candidate.kind is Kind.TRANSLATION_CHOSEN
            if (vote := _vote(samples[candidate.sample], candidate)) is not None
        ]
        agree = wilson(sum(votes), len(votes))
        inverted = len(votes) >= _MIN_EVIDENCE and agree["high"] < 0.5
        agreement[code] = {"agree": agree, "inverted": inverted}
    return agreement


def warnings_of(counts: dict[str, Any]) -> list[str]:
    """Return a sentence for everything in a pair stage's counts that a user should look at."""
    found = [
        f"the reward looks inverted in {code}: where the sides disagree, the chosen text agrees "
        f"with the dominant answer in only {reward['agree']['value']:.0%} of {reward['agree']['n']}"
        for code, reward in counts["reward"].items()
        if reward["inverted"]
    ]
    for direction, measured in counts["directions"].items():
        kept = measured["numbers_preserved"]
        if kept["n"] >= _MIN_EVIDENCE and kept["high"] < _FAITHFUL:
            found.append(
                f"translations {direction} keep the numbers in only {kept['value']:.0%} "
                f"of {kept['n']} texts"
            )
    if counts["identical_share"] > _IDENTICAL:
        found.append(
            f"{counts['identical_share']:.0%} of the pairs have identical sides: little is left "
            "to learn"
        )
    return found


def _numbers_preserved(samples: Sequence[Sources], source: str, target: str) -> Interval:
    kept = [
        keeps_numbers(sources.responses[prompt_id, s].text, s, translation.text, t)
        for sources in samples
        for (prompt_id, s, t), translation in sources.translations.items()
        if (s, t) == (source, target) and translation.text is not None
    ]
    known = [each for each in kept if each is not None]
    return wilson(sum(known), len(known))


def _round_trip(samples: Sequence[Sources], source: str, target: str) -> dict[str, float]:
    metric = CHRF()
    scores = [
        metric.sentence_score(back.text, [sources.responses[prompt_id, source].text]).score
        for sources in samples
        for (prompt_id, s, t), back in sources.round_trips.items()
        if (s, t) == (source, target) and back.text is not None
    ]
    return {"value": sum(scores) / len(scores) if scores else 0.0, "n": len(scores)}


def _vote(sources: Sources, candidate: Candidate) -> bool | None:
    """Return True if only the chosen side agrees, False if only the rejected, None otherwise."""
    strong = sources.responses.get((candidate.prompt_id, candidate.other_language))
    wanted = extract_number(strong.text, candidate.other_language) if strong else None
    if wanted is None:
        return None
    chosen = extract_number(candidate.chosen or "", candidate.language) == wanted
    rejected = extract_number(candidate.rejected or "", candidate.language) == wanted
    return chosen if chosen != rejected else None
