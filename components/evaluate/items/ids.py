"""What items are called: the same in two languages only where they are one question."""

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

    An id is the data set's own. Row numbers, and ids that merely count rows, name questions only
    where a task has equally many items in all languages: ids if they count from one number in all
    of them, row numbers in data sets known to be parallel. Elsewhere a translation may have dropped
    rows, and the id begins with the language.

    Args:
        results: the harness's.
        tasks: the single tasks, each with its language.
        datasets: what each task reads, by the name on the hub.
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
        counting: whether ids may be such that they merely count the rows.
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
    """Return by how much ids that merely count rows differ from them; None for other ids."""
    if not all(name.isdecimal() and len(name) <= _MAX_DIGITS for name in ids.values()):
        return None
    found = {int(name) - row for row, name in ids.items()}
    return found.pop() if len(found) == 1 else None
