"""The scores that rewarders write: their file, and its counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from lidr.components.shared.records.schema import Score

SCORES_FILE = "scores.parquet"
"""In a score or grade stage: a `Score` of every response."""


def score_counts(scores: Mapping[str, Sequence[Score]]) -> dict[str, Any]:
    """Return how many responses there are and how many have a score, in total and by language.

    Returns:
        `responses`, `scored` and `languages`; for each language also `failures` (by reason),
        `mean`, and `spread`, the mean over prompts of the best score minus the worst.
    """
    rows = {code: _language(own) for code, own in scores.items()}
    total = {key: sum(row[key] for row in rows.values()) for key in ("responses", "scored")}
    return {**total, "languages": rows}


def _language(scores: Sequence[Score]) -> dict[str, Any]:
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for each in scores:
        if each.value is not None:
            by_prompt[each.prompt_id].append(each.value)
    found = [value for values in by_prompt.values() for value in values]
    spreads = [max(values) - min(values) for values in by_prompt.values()]
    failures = Counter(str(each.failure) for each in scores if each.failure)
    return {
        "responses": len(scores),
        "scored": len(found),
        "failures": dict(sorted(failures.items())),
        "mean": fmean(found) if found else 0.0,
        "spread": fmean(spreads) if spreads else 0.0,
    }
