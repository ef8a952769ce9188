"""Ids of evaluation items: two languages share an id only if it is the same question in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lidr.components.shared.stats.paired import task_of

_FIELDS = ("item_id", "id", "question_id", "sample_id", "story_id", "idx", "ind")
"""Fields in which data sets name their items; the first that tells a task's items apart counts."""

_PARALLEL_BY_ROWS = frozenset({"juletxara/mgsm"})
"""Data sets without such a field whose n-th item is the same question in every language."""

_MAX_DIGITS = 19
"""Ids with more digits are not taken for row numbers; Python refuses to read very long ones."""


def item_ids(
    results: Mapping[str, Any], tasks: Sequence[tuple[str, str]], datasets: Mapping[str, str]
) -> dict[str, dict[int, str]]:
    """Return the ids of every task's items, by document number.

    An item has the data set's own id. Ids that merely count rows are used only if the task has
    equally many items in all languages and counts from the same number in all of them, as a
    translation may have dropped rows. Otherwise the id is the row number if the task has equally
    many items in all languages and its data set is known to be parallel; if not, the row number
    after the language (`es:17`).

    Args:
        results: the harness's results.
        tasks: the single tasks, each with its language.
        datasets: the hub's name of the data set that each task reads.
    """
    sizes: dict[str, set[int]] = {}
    for task, language in tasks:
        size = results["n-samples"][task]["original"]  # whatever the recipe's limit is
        sizes.setdefault(task_of(task, language), set()).add(size)
    docs = {
        task: {sample["doc_id"]: sample["doc"] for sample in results["samples"][task]}
        for task, _ in tasks
    }
    offsets: dict[str, set[int | None]] = {}
    for task, language in tasks:
        offsets.setdefault(task_of(task, language), set()).add(_offset(own_ids(docs[task])))
    found = {}
    for task, language in tasks:
        group = task_of(task, language)
        equally_many = len(sizes[group]) == 1
        counting = equally_many and len(offsets[group]) == 1
        aligned = equally_many and datasets.get(task) in _PARALLEL_BY_ROWS
        found[task] = own_ids(docs[task], counting=counting) or {
            row: str(row) if aligned else f"{language}:{row}" for row in docs[task]
        }
    return found


def own_ids(docs: Mapping[int, Mapping[str, Any]], *, counting: bool = True) -> dict[int, str]:
    """Return the ids that the data set gives its items, by row, or {} if it gives none.

    Args:
        docs: the items by row.
        counting: whether ids that merely count the rows are returned too.
    """
    for field in _FIELDS:
        values = {row: doc.get(field) for row, doc in docs.items()}
        if not all(_is_id(value) for value in values.values()):
            continue
        ids = {row: str(value) for row, value in values.items()}
        if len(set(ids.values())) == len(ids) and (counting or _offset(ids) is None):
            return ids
    return {}


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""


def _offset(ids: Mapping[int, str]) -> int | None:
    """Return ids minus row numbers where the ids merely count rows; None for other ids."""
    if not all(name.isdecimal() and len(name) <= _MAX_DIGITS for name in ids.values()):
        return None
    found = {int(name) - row for row, name in ids.items()}
    return found.pop() if len(found) == 1 else None
