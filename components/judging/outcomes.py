"""The part of a judgement that a step keeps in memory."""

from __future__ import annotations

from dataclasses import dataclass

from lidr.components.shared.core.text import one_line
from lidr.components.shared.records.judged import JudgeFailure, Judgement

_MAX_SAID_CHARS = 300


@dataclass(frozen=True, slots=True)
class JudgementOutcome:
    """The part of a judgement that scores and counts are made of.

    The judge's words and their log-probabilities stay on the store: those of 400,000 judgements
    take more than 4 GiB.

    Attributes:
        turn: number of the judged turn or, in grade, of the sample, from 0.
        order: which answer came first.
        value: the judgement's value (see `Judgement`); None on failure.
        failure: why there is no value.
        input_tokens: tokens of the request.
        output_tokens: tokens of the reply.
        said: the beginning of what the server said of a request that it rejected; else "".
    """

    turn: int
    order: str
    value: float | None
    failure: str | None
    input_tokens: int
    output_tokens: int
    said: str = ""


def outcome_of(judgement: Judgement) -> JudgementOutcome:
    """Return the part of a judgement that is kept in memory."""
    rejected = judgement.failure == JudgeFailure.REJECTED
    return JudgementOutcome(
        judgement.turn,
        judgement.order,
        judgement.value,
        judgement.failure,
        judgement.input_tokens,
        judgement.output_tokens,
        one_line(judgement.raw)[:_MAX_SAID_CHARS] if rejected else "",
    )
