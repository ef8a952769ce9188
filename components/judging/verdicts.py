"""Reads the verdict of a judgement: strictly, weighted by log-probabilities, never guessed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lidr.components.shared.records.judged import JudgeFailure

LABELS = ("A", "B")
"""Verdicts of a comparison: the first answer is better, or the second."""

MAX_SCORE = 10

_LABEL = re.compile(r"[\s*\"'(\[]*([AB])[\s*\"')\].]*")
_SCORE = re.compile(r"[\s*]*Score:[\s*]*(0|[1-9][0-9]{0,2})[\s*]*")
_THOUGHT_END = "</think>"

Alternatives = Mapping[str, float]
"""Log-probabilities of the tokens that could have been written at one position, by token."""


@dataclass(frozen=True, slots=True)
class Position:
    """One token that the judge wrote, and what it could have written instead."""

    token: str
    alternatives: Alternatives


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judgement says.

    Attributes:
        value: P(the first answer is better), or the expected score from 0 to 10; None on failure.
        failure: why there is no value.
        alternatives: the alternatives at the verdict's token; empty if the server gave none. On
            failure None, or those at the last token.
    """

    value: float | None
    failure: JudgeFailure | None = None
    alternatives: Alternatives | None = None


def read_preference(text: str, positions: Sequence[Position]) -> Verdict:
    """Read which of two answers is better.

    The value is P(A) / (P(A) + P(B)) at the token of the verdict; without log-probabilities it is 1
    or 0.

    Args:
        text: what the judge wrote.
        positions: its tokens; empty if the server gives no log-probabilities.
    """
    found = _LABEL.fullmatch(_conclusion(text))
    if not found:
        return Verdict(None, JudgeFailure.UNPARSABLE)
    alternatives = _alternatives_at(positions, found[1])
    shares = {label: _probability(alternatives, label) for label in LABELS}
    if not shares[found[1]]:
        return Verdict(float(found[1] == LABELS[0]), None, alternatives)
    return Verdict(shares["A"] / (shares["A"] + shares["B"]), None, alternatives)


def read_score(text: str, positions: Sequence[Position]) -> Verdict:
    """Read a score from 0 to 10 on the judgement's last line.

    The value is the expected score over the numbers that could have been written there; without
    log-probabilities it is the number itself.

    Args:
        text: what the judge wrote.
        positions: its tokens; empty if the server gives no log-probabilities.
    """
    lines = [line for line in _conclusion(text).splitlines() if line.strip()]
    found = _SCORE.fullmatch(lines[-1]) if lines else None
    if not found:
        return Verdict(None, JudgeFailure.UNPARSABLE)
    if len({match[1] for line in lines if (match := _SCORE.fullmatch(line))}) > 1:
        return Verdict(None, JudgeFailure.CONTRADICTORY)
    score = int(found[1])
    if score > MAX_SCORE:
        return Verdict(None, JudgeFailure.OUT_OF_RANGE)
    value, alternatives = _expected(score, positions)
    return Verdict(value, None, alternatives)


def _conclusion(text: str) -> str:
    """Return a judgement without the thoughts that some models write before it."""
    return text.rpartition(_THOUGHT_END)[2].strip()


def _alternatives_at(positions: Sequence[Position], written: str) -> Alternatives:
    """Return the alternatives to the last token that is the verdict."""
    found = [each for each in positions if _bare(each.token) == written]
    return found[-1].alternatives if found else {}


def _expected(score: int, positions: Sequence[Position]) -> tuple[float, Alternatives]:
    """Return the expected score at the last number, and the alternatives to it.

    Some tokenizers write 10 as 1 and 0. How likely 10 was is then known only if the judge wrote the
    1; if it did not, and no alternative is 10, the probability of 1 is left out.
    """
    digits = [index for index, each in enumerate(positions) if _number(each.token)]
    if not digits:
        return float(score), {}
    last = digits[-1]
    split = score == MAX_SCORE and [_number(each.token) for each in positions[last - 1 : last + 1]]
    start = last - 1 if split == ["1", "0"] else last
    alternatives = positions[start].alternatives
    shares = {number: _probability(alternatives, str(number)) for number in range(MAX_SCORE + 1)}
    if start < last or score == 1:
        following = positions[start + 1].alternatives if start + 1 < len(positions) else {}
        ten = shares[1] * _probability(following, "0")
        shares[10] += ten
        shares[1] -= ten
    elif not shares[10]:
        shares[1] = 0.0
    if not shares[score]:
        return float(score), alternatives
    total = sum(shares.values())
    return sum(number * share for number, share in shares.items()) / total, alternatives


def _bare(token: str) -> str:
    """Return a token without the spaces and marks that may surround a verdict."""
    return token.strip(" \n*\"'()[].")


def _number(token: str) -> str:
    """Return the number that a token is, in ASCII digits; "" if it is none."""
    bare = _bare(token)
    return bare if bare.isascii() and bare.isdigit() else ""


def _probability(alternatives: Alternatives, written: str) -> float:
    """Return the probability of a verdict: the sum over its tokens with and without spaces."""
    return min(
        1.0,
        sum(
            math.exp(min(logprob, 0.0))
            for token, logprob in alternatives.items()
            if _bare(token) == written
        ),
    )
