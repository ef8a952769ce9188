"""Scores of items, and counts per task and language, from judgements."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from lidr.components.judge.cases import Item, ItemsToJudge
from lidr.components.judge.lengths import length_controlled
from lidr.components.judging.judge_cases import usage_of
from lidr.components.judging.outcomes import JudgementOutcome
from lidr.components.judging.verdicts import MAX_SCORE
from lidr.components.shared.config.judge import PAIRWISE, Price
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.records.judged import JudgeFailure, Order
from lidr.components.shared.records.schema import EvalItem, FinishReason
from lidr.components.shared.stats.intervals import macro_average, mean_interval

Judged = list[tuple[Item, list[JudgementOutcome]]]
"""Items with the outcomes of all their judgements."""

UNPARSABLE = (
    JudgeFailure.UNPARSABLE,
    JudgeFailure.CONTRADICTORY,
    JudgeFailure.OUT_OF_RANGE,
    JudgeFailure.TRUNCATED,
    JudgeFailure.EMPTY,
)
"""Failures of judgements that arrived, but hold no valid verdict."""


def score_of(item: Item, outcomes: Sequence[JudgementOutcome]) -> float | None:
    """Return an item's score from 0 to 1, the mean of its judgements; None if one of them failed.

    Args:
        item: a comparison has two judgements, a conversation one per turn.
        outcomes: outcomes of all of the item's judgements, failed ones included.
    """
    values = [each.value for each in outcomes if each.value is not None]
    if len(values) < (2 if item.task.is_pairwise else len(item.answers)):
        return None
    return fmean(values) / (1 if item.task.is_pairwise else MAX_SCORE)


def items_of(judged: Judged) -> list[EvalItem]:
    """Return the items that have a score, as the records that evaluations consist of."""
    return [
        _eval_item(item, score)
        for item, outcomes in judged
        if (score := score_of(item, outcomes)) is not None
    ]


def summarise(
    asked: ItemsToJudge, judged: Judged, others: Sequence[str], price: Price, seed: int
) -> dict[str, Any]:
    """Return the counts per task and language, per task, and in total.

    Args:
        asked: what was to be judged.
        judged: its items with the outcomes of their judgements.
        others: codes of all languages but the dominant one; a task's average is over these.
        price: price of tokens, in dollars per million.
        seed: seed of the resampling.
    """
    places = dict.fromkeys([*(item.place for item in asked.items), *asked.unanswered])
    tasks: dict[str, Any] = {}
    for task, language in places:
        group = [pair for pair in judged if pair[0].place == (task, language)]
        counts = _place_counts(task, group, seed_of(seed, "judged", task, language), price)
        counts["unanswered"] = asked.unanswered[task, language]
        tasks.setdefault(task, {"languages": {}})["languages"][language] = counts
    for counts in tasks.values():
        parts = [
            counts["languages"][code]["score"] for code in others if code in counts["languages"]
        ]
        counts["average"] = macro_average([part for part in parts if part["n"]])
    return {"tasks": tasks} | _judgement_counts(
        [each for _, group in judged for each in group], price
    )


def _place_counts(task: str, group: Judged, seed: int, price: Price) -> dict[str, Any]:
    """Return the counts of one task in one language."""
    scored = [
        (item, found, score)
        for item, found in group
        if (score := score_of(item, found)) is not None
    ]
    outcomes = [each for _, found in group for each in found]
    counts: dict[str, Any] = {
        "score": mean_interval([score for *_, score in scored], seed=seed),
        "left_out": len(group) - len(scored),
        **_judgement_counts(outcomes, price),
    }
    if task not in PAIRWISE:
        return counts | {"turns": _by_turn(outcomes)}
    values = [[each.value for each in found if each.value is not None] for _, found, _ in scored]
    wins, losses = sum(min(both) > 0.5 for both in values), sum(max(both) < 0.5 for both in values)
    flipped = sum(min(both) < 0.5 < max(both) for both in values)
    firsts = [first for each in outcomes if (first := _first_preference(each)) is not None]
    return counts | {
        "length_controlled": length_controlled(
            np.array([score for *_, score in scored], dtype=float),
            np.array([len(i.answers[0].response) - len(i.rival) for i, *_ in scored], dtype=float),
            seed=seed,
        ),
        "won": wins,
        "tied": len(scored) - wins - losses,
        "lost": losses,
        "flipped": flipped / len(scored) if scored else 0.0,
        "first_preference": fmean(firsts) if firsts else 0.5,
    }


def _by_turn(outcomes: Sequence[JudgementOutcome]) -> dict[str, Any]:
    """Return the mean score of each turn, from 0 to 1, and the number of judgements behind it."""
    turns: dict[int, list[float]] = {}
    for each in outcomes:
        if each.value is not None:
            turns.setdefault(each.turn, []).append(each.value / MAX_SCORE)
    return {
        str(turn + 1): {"value": fmean(turns[turn]), "n": len(turns[turn])}
        for turn in sorted(turns)
    }


def _first_preference(outcome: JudgementOutcome) -> float | None:
    """Return P(the judge prefers the answer that it read first); None on failure."""
    if outcome.value is None:
        return None
    first = outcome.order == Order.CANDIDATE_FIRST
    return outcome.value if first else 1.0 - outcome.value


def _judgement_counts(outcomes: Sequence[JudgementOutcome], price: Price) -> dict[str, Any]:
    """Return the number of judgements, their failures, their tokens and their cost."""
    usage = usage_of(outcomes, price)
    return {
        **usage,
        "unparsable": sum(usage["failures"].get(reason, 0) for reason in UNPARSABLE),
    }


def _eval_item(item: Item, score: float) -> EvalItem:
    cut = any(answer.finish_reason == FinishReason.LENGTH for answer in item.answers)
    last = item.answers[-1]
    return EvalItem(
        task=item.task.name,
        language=item.language,
        item_id=item.question.item_id,
        prompt=last.prompt,
        response=last.response,
        target=item.rival if item.task.is_pairwise else item.question.reference_to(last.turn),
        score=score,
        detected_language=last.detected_language,
        finish_reason=FinishReason.LENGTH if cut else FinishReason.STOP,
        output_tokens=sum(answer.output_tokens for answer in item.answers),
    )
