"""Asks the judge for the judgements that a stage lacks, and counts what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from lidr.components.judging.cases import Case
from lidr.components.judging.client import ask
from lidr.components.judging.judgement_writer import (
    JudgementWriter,
    failures_text,
    max_failures,
)
from lidr.components.judging.outcomes import JudgementOutcome
from lidr.components.shared.config.judge import Judge, Price
from lidr.components.shared.config.machine import Machine
from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.store.stage import Stage


def judge_all(stage: Stage, judge: Judge, cases: Sequence[Case]) -> dict[str, JudgementOutcome]:
    """Return each case's outcome by its `request`, asking for judgements that the stage lacks.

    Cases that failed because of the server, not the judge, are asked once more at the end, as a
    finished stage keeps its failures.

    Raises:
        BadInput: the profile names no server, or the server refuses the key.
        EngineFailed: too many judgements failed; the others are kept for the next attempt.
        Unavailable: the judge did not answer for LIDR_RETRY_SECONDS.
    """
    writer = JudgementWriter(stage, len(cases), judge.chunk_size, judge.max_failed_share)
    try:
        server = Machine.from_environment().judge
        ask([case for case in cases if not writer.reuse(case)], judge, server, writer.take)
        if late := writer.withdraw_server_failures(cases):
            ask(late, judge, server, writer.take)
    finally:
        writer.flush()
    writer.close([case.request for case in cases])
    return writer.outcomes


def require_few_failures(stage: Stage, judge: Judge) -> None:
    """Refuse a finished stage in which more judgements failed than the recipe accepts.

    The stage's address does not depend on `max_failed_share`: it may have been higher before.

    Raises:
        EngineFailed: too many of its judgements failed.
    """
    counts = stage.counts()
    failures = Counter[str](counts.get("failures", {}))  # grade has not always counted them
    total = counts["judgements"]
    if failures.total() > max_failures(judge.max_failed_share, total):
        raise EngineFailed(
            f"{failures_text(failures, total)} in {stage.uri}, which was finished with a higher "
            "judge.max_failed_share",
            remedy="Raise it again, or change the judge's model or prompts to judge anew.",
        )


def usage_of(outcomes: Sequence[JudgementOutcome], price: Price) -> dict[str, Any]:
    """Return the number of judgements, their failures, their tokens, and their cost in dollars."""
    read = sum(each.input_tokens for each in outcomes)
    written = sum(each.output_tokens for each in outcomes)
    failures = Counter(each.failure for each in outcomes if each.failure)
    return {
        "judgements": len(outcomes),
        "failures": {reason: failures[reason] for reason in sorted(failures)},
        "input_tokens": read,
        "output_tokens": written,
        "dollars": round(price.dollars(read, written), 6),
    }
