"""Two evaluations side by side: the same items, answered by M_t and by M_{t+1}."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.store.stage import open_stage

HEAD_TO_HEAD = "head_to_head"
"""The judged task that compares a model with its predecessor (judge.tasks in a recipe)."""

Question = tuple[str, str]
"""Task without its language, and item: the same in every language of a parallel benchmark."""

Scores = dict[tuple[str, str, str], float]
"""Of items, by task, language and item."""

Rates = dict[str, Any]
"""What an evaluate stage counted of one language."""


_UNMEASURED: Rates = {"off_target": {"value": 0.0}, "truncated": 0.0}
"""Of a language in which only a judge has items."""


@dataclass(frozen=True, slots=True)
class Paired:
    """The items of one language.

    Attributes:
        questions: which question each item is.
        gains: score of M_{t+1} minus score of M_t, shape (items,).
        before: counts of M_t.
        after: counts of M_{t+1}.
    """

    questions: Sequence[Question]
    gains: NDArray[np.float64]
    before: Rates
    after: Rates


def compare(
    before: str, after: str, judged_before: str = "", judged_after: str = ""
) -> dict[str, Paired]:
    """Return the items of two evaluate stages, per language; those of two judge stages among them.

    What a judge left without a verdict of one model is left out of both. Head-to-head items are
    left out, too: they compare each model with another one.

    Args:
        before: URI of the evaluate stage of M_t.
        after: URI of the evaluate stage of M_{t+1}.
        judged_before: URI of the judge stage of M_t, or "".
        judged_after: URI of the judge stage of M_{t+1}, or "".

    Raises:
        BadInput: they do not hold the same items.
    """
    old, new = (_scores(uri) for uri in (before, after))
    if old.keys() != new.keys():
        missing = sorted(old.keys() ^ new.keys())[0]
        raise BadInput(
            f"the evaluations hold different items, for example {missing}",
            remedy="Evaluate both models with the same recipe.",
        )
    if judged_before and judged_after:
        first, second = (_judged(uri) for uri in (judged_before, judged_after))
        common = first.keys() & second.keys()
        old |= {key: first[key] for key in common}
        new |= {key: second[key] for key in common}
    return _paired(old, new, before, after)


def compare_alike(before: str, after: str) -> dict[str, Paired]:
    """Return the items of two evaluate stages, of the languages in which both hold the same ones.

    Args:
        before: URI of the one evaluate stage.
        after: URI of the other, maybe of another recipe.
    """
    old, new = (_scores(uri) for uri in (before, after))
    different = {key[1] for key in old.keys() ^ new.keys()}
    old, new = (
        {key: score for key, score in scores.items() if key[1] not in different}
        for scores in (old, new)
    )
    return _paired(old, new, before, after)


def _paired(old: Scores, new: Scores, before: str, after: str) -> dict[str, Paired]:
    keys: dict[str, list[tuple[str, str, str]]] = {}
    for key in sorted(old):
        keys.setdefault(key[1], []).append(key)
    counted = [open_stage(uri).counts()["languages"] for uri in (before, after)]
    return {
        code: Paired(
            questions=[(_without_language(task, code), item) for task, _, item in own],
            gains=np.array([new[key] - old[key] for key in own]),
            before=counted[0].get(code, _UNMEASURED),
            after=counted[1].get(code, _UNMEASURED),
        )
        for code, own in keys.items()
    }


def by_question(groups: Sequence[Paired]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean gain over languages as sums over questions, which are independent.

    A question that is asked in several languages is one unit: a model that happens to solve it
    often does so in all of them, so its items are no independent evidence.

    Args:
        groups: the items of each language; languages weigh alike, whatever their number of items.

    Returns:
        Two arrays of shape (questions,): parts that add up to the mean gain, to flip their signs;
        and values whose mean is the mean gain, to resample. The latter are linear in how often a
        question is drawn, also where a language lacks some questions.
    """
    rows: dict[Question, int] = {}
    for group in groups:
        for question in group.questions:
            rows.setdefault(question, len(rows))
    parts, deviations = np.zeros(len(rows)), np.zeros(len(rows))
    for group in groups:
        own = [rows[question] for question in group.questions]
        weight = 1 / (len(own) * len(groups))
        np.add.at(parts, own, group.gains * weight)
        np.add.at(deviations, own, (group.gains - group.gains.mean()) * weight)
    return parts, parts.sum() + len(rows) * deviations


def _scores(uri: str) -> Scores:
    items: list[EvalItem] = open_stage(uri).read_records(["items.parquet"], EvalItem)
    return {(item.task, item.language, item.item_id): item.score for item in items}


def _judged(uri: str) -> Scores:
    return {key: score for key, score in _scores(uri).items() if key[0] != HEAD_TO_HEAD}


def _without_language(task: str, code: str) -> str:
    return "_".join(part for part in re.split("[_-]", task) if part != code)
