"""Two evaluations side by side: the same items, answered by M_t and by M_{t+1}."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.languages import NAMES, UNDETERMINED
from lidr.components.shared.records.schema import EvalItem, FinishReason
from lidr.components.shared.store.stage import open_stage

HEAD_TO_HEAD = "head_to_head"
"""The judged task that compares a model with its predecessor (judge.tasks in a recipe)."""

Question = tuple[str, str]
"""Task with `{language}` for its language, and item. Two languages share a question only where the
item is known to be the same one (components/evaluate/items/ids.py)."""

Key = tuple[str, str, str]
"""Task, language and item."""

Items = dict[Key, EvalItem]


@dataclass(frozen=True, slots=True)
class Marks:
    """Which answers of M_t and of M_{t+1} have a flaw, such as being cut; both (items,)."""

    before: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    after: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))


@dataclass(frozen=True, slots=True)
class PairedItems:
    """The items of one language, answered by both models.

    Attributes:
        questions: the question of each item.
        gains: score of M_{t+1} minus score of M_t, shape (items,).
        off_target: answers in another language than the question's; judged items are left out.
        truncated: answers that were cut at the token limit; judged items are left out.
    """

    questions: Sequence[Question]
    gains: NDArray[np.float64]
    off_target: Marks = field(default_factory=Marks)
    truncated: Marks = field(default_factory=Marks)


def is_off_target(item: EvalItem) -> bool:
    """Return whether an answer is in another language than its question."""
    return item.detected_language not in (item.language, UNDETERMINED)


def is_truncated(item: EvalItem) -> bool:
    """Return whether an answer was cut at the token limit."""
    return item.finish_reason == FinishReason.LENGTH


def compare(
    before: str | Sequence[EvalItem],
    after: str | Sequence[EvalItem],
    judged_before: str = "",
    judged_after: str = "",
) -> dict[str, PairedItems]:
    """Return the items of two evaluate stages, and of two judge stages if given, per language.

    An item that the judge gave no verdict on for one model is left out. So are head-to-head items:
    they compare each model with another one.

    Args:
        before: URI of the evaluate stage of M_t, or its items if they are already read.
        after: the same of M_{t+1}.
        judged_before: URI of the judge stage of M_t, or "".
        judged_after: URI of the judge stage of M_{t+1}, or "".

    Raises:
        BadInput: the evaluate stages do not hold the same items.
    """
    old, new = (
        read_items(each)
        if isinstance(each, str)
        else {(item.task, item.language, item.item_id): item for item in each}
        for each in (before, after)
    )
    if old.keys() != new.keys():
        missing = sorted(old.keys() ^ new.keys())[0]
        raise BadInput(
            f"the evaluations hold different items, for example {missing}",
            remedy="Evaluate both models with the same recipe.",
        )
    if not (judged_before and judged_after):
        return _paired(old, new)
    first, second = (read_items(uri) for uri in (judged_before, judged_after))
    common = {key for key in first.keys() & second.keys() if key[0] != HEAD_TO_HEAD}
    return _paired(
        old, new, {key: first[key] for key in common}, {key: second[key] for key in common}
    )


def read_items(uri: str) -> Items:
    """Return the items of an evaluate or judge stage."""
    items: list[EvalItem] = open_stage(uri).read_records(["items.parquet"], EvalItem)
    return {(item.task, item.language, item.item_id): item for item in items}


def question_of(key: Key) -> Question:
    """Return an item's question, in which its language does not appear."""
    task, code, item = key
    return task_of(task, code), item


def task_of(task: str, code: str) -> str:
    """Return a task with `{language}` for the last part that is its language's code or name.

    A task without such a part, such as hellaswag, stays distinct from hellaswag_{language}: its
    items are from another data set.
    """
    parts = re.split("[_-]", task)
    for word in (code, NAMES.get(code, code).lower()):
        if word in parts:  # mgsm_en_cot_en has it twice
            parts[len(parts) - 1 - parts[::-1].index(word)] = "{language}"
            break
    return "_".join(parts)


def _paired(
    old: Items, new: Items, judged_old: Items | None = None, judged_new: Items | None = None
) -> dict[str, PairedItems]:
    first, second = old | (judged_old or {}), new | (judged_new or {})
    keys: dict[str, list[Key]] = {}
    for key in sorted(first):
        keys.setdefault(key[1], []).append(key)
    return {
        code: PairedItems(
            questions=[question_of(key) for key in own],
            gains=np.array([second[key].score - first[key].score for key in own]),
            off_target=_marks(old, new, own, is_off_target),
            truncated=_marks(old, new, own, is_truncated),
        )
        for code, own in keys.items()
    }


def _marks(old: Items, new: Items, keys: Sequence[Key], has: Callable[[EvalItem], bool]) -> Marks:
    evaluated = [key for key in keys if key in old]
    before, after = ([has(items[key]) for key in evaluated] for items in (old, new))
    return Marks(np.array(before, dtype=np.bool_), np.array(after, dtype=np.bool_))


def by_question(groups: Sequence[PairedItems]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split the mean gain over languages by question, as questions are independent.

    A question that is asked in several languages is one unit: a model that solves it in one often
    solves it in all, so its items are not independent evidence. Where the questions of languages
    cannot be matched, items of the same rank are one unit, best gains and worst losses first: of
    all ways to match them the one with which the mean gain varies most.

    Args:
        groups: the items of each language; all languages have equal weight.

    Returns:
        Two arrays of shape (questions,): parts that add up to the mean gain, for sign flips; and
        values whose mean is the mean gain, for resampling. The latter are linear in how often a
        question is drawn, even if a language lacks some questions.
    """
    rows = _rows_by_rank(groups) if unmatched_tasks(groups) else _rows_by_name(groups)
    size = 1 + max(int(own.max()) for own in rows)
    parts, deviations = np.zeros(size), np.zeros(size)
    for group, own in zip(groups, rows, strict=True):
        weight = 1 / (len(own) * len(groups))
        np.add.at(parts, own, group.gains * weight)
        np.add.at(deviations, own, (group.gains - group.gains.mean()) * weight)
    return parts, parts.sum() + size * deviations


def unmatched_tasks(groups: Sequence[PairedItems]) -> list[str]:
    """Return the tasks of which two languages may have the same questions without our knowing.

    Two languages have no question of such a task in common, or only one language has the task,
    which may be a translation of one that another language has.

    Args:
        groups: the items of each language.
    """
    if len(groups) < 2:
        return []
    asked: dict[str, list[set[str]]] = {}
    for group in groups:
        own: dict[str, set[str]] = {}
        for task, item in group.questions:
            own.setdefault(task, set()).add(item)
        for task, items in own.items():
            asked.setdefault(task, []).append(items)
    return sorted(
        task
        for task, items in asked.items()
        if len(items) < 2 or any(a.isdisjoint(b) for a, b in combinations(items, 2))
    )


def _rows_by_name(groups: Sequence[PairedItems]) -> list[NDArray[np.int64]]:
    rows: dict[Question, int] = {}
    return [
        np.array([rows.setdefault(question, len(rows)) for question in group.questions])
        for group in groups
    ]


def _rows_by_rank(groups: Sequence[PairedItems]) -> list[NDArray[np.int64]]:
    """Return each item's rank by its gain; losses count from the end of the longest language."""
    size = max(len(group.gains) for group in groups)
    ranks = [np.argsort(np.argsort(-group.gains, kind="stable")) for group in groups]
    return [
        own + (size - len(own)) * (group.gains < 0)
        for group, own in zip(groups, ranks, strict=True)
    ]
