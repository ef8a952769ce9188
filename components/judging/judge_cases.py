"""Asks a judge for what a stage lacks, and counts what its judgements cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lidr.components.judging.cases import Case
from lidr.components.judging.client import ask
from lidr.components.judging.judgement_writer import JudgementWriter
from lidr.components.judging.outcomes import Outcome
from lidr.components.shared.config.judge import Judge, Price
from lidr.components.shared.config.machine import Machine
from lidr.components.shared.store.stage import Stage


def judge_all(stage: Stage, judge: Judge, cases: Sequence[Case]) -> dict[str, Outcome]:
    """Return the outcome of each case by its request, asking for judgements that the stage lacks.

    Raises:
        BadInput: the profile names no server, or it refuses the key.
        EngineFailed: too many judgements failed; the others are kept for the next attempt.
        Unavailable: the judge did not answer for LIDR_RETRY_SECONDS.
    """
    writer = JudgementWriter(stage, len(cases), judge.chunk_size, judge.max_failed_share)
    try:
        asked = [case for case in cases if not writer.reuse(case)]
        ask(asked, judge, Machine.from_environment().judge, writer.take)
    finally:
        writer.flush()
    writer.close([case.request for case in cases])
    return writer.outcomes


def usage_of(outcomes: Sequence[Outcome], price: Price) -> dict[str, Any]:
    """Return how many judgements there are, their tokens, and what they cost in dollars."""
    read = sum(each.input_tokens for each in outcomes)
    written = sum(each.output_tokens for each in outcomes)
    return {
        "judgements": len(outcomes),
        "input_tokens": read,
        "output_tokens": written,
        "dollars": round(price.dollars(read, written), 6),
    }
