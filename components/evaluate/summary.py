"""Summary of an evaluation by language: scores, off-target and cut answers, lengths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from lidr.components.shared.config.recipe import Languages
from lidr.components.shared.records.schema import EvalItem, FinishReason
from lidr.components.shared.stats.intervals import Interval, macro_average, mean_interval, wilson
from lidr.components.shared.stats.paired import is_off_target, is_truncated
from lidr.components.shared.stats.premise import check_premise


def summarise(items: Sequence[EvalItem], languages: Languages) -> dict[str, Any]:
    """Return scores per language, their macro average over the other languages, and the premise.

    Args:
        items: the evaluation's items, with scores from 0 to 1.
        languages: the recipe's languages.

    Returns:
        `languages`: by code `accuracy`, `off_target` and `truncated` (intervals), `if_cut_right`
        (the accuracy if every answer that was cut were right), `failed` and `mean_tokens`; the
        `average` accuracy, `average_if_cut_right` and `average_truncated`; and the `premise`
        (`check_premise`).
    """
    rows = {code: _language_counts(group) for code, group in by_language(items).items()}
    known = [rows[code] for code in languages.others if code in rows]
    return {
        "languages": rows,
        "average": macro_average([row["accuracy"] for row in known]),
        "average_if_cut_right": macro_average([row["if_cut_right"] for row in known]),
        "average_truncated": fmean([row["truncated"]["value"] for row in known] or [0.0]),
        "premise": check_premise(items, languages.dominant, languages.others),
    }


def by_language(items: Iterable[EvalItem]) -> dict[str, list[EvalItem]]:
    """Return items grouped by language code."""
    groups: dict[str, list[EvalItem]] = {}
    for item in items:
        groups.setdefault(item.language, []).append(item)
    return groups


def accuracy_of(items: Sequence[EvalItem]) -> Interval:
    """Return the mean score with its 95% interval."""
    return mean_interval([item.score for item in items])


def _language_counts(items: Sequence[EvalItem]) -> dict[str, Any]:
    count = len(items)
    uncut = [replace(item, score=1.0) if is_truncated(item) else item for item in items]
    return {
        "accuracy": accuracy_of(items),
        "if_cut_right": accuracy_of(uncut),
        "off_target": wilson(sum(map(is_off_target, items)), count),
        "truncated": wilson(sum(map(is_truncated, items)), count),
        "failed": sum(item.finish_reason == FinishReason.FAILED for item in items),
        "mean_tokens": fmean(item.output_tokens for item in items),
    }
