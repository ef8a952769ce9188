"""What answers that were cut at the token limit, and so count as wrong, may hide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lidr.components.shared.stats.intervals import Interval


def truncation_warning(languages: Mapping[str, Any]) -> str:
    """Return a warning where accuracies would be others if cut answers were right; "" if nowhere.

    Args:
        languages: by code `accuracy`, `if_cut_right` and `truncated`, as an evaluation counts them.
    """
    changed = [
        f"{code} {_said(row['accuracy'])} would be {_said(row['if_cut_right'])} "
        f"({row['truncated']['value']:.1%} cut)"
        for code, row in languages.items()
        if _said(row["accuracy"]) != _said(row["if_cut_right"])
    ]
    if not changed:
        return ""
    return (
        "answers that were cut at the token limit count as wrong; were they right, "
        f"{'; '.join(changed)}. A larger evaluation.max_tokens would tell"
    )


def _said(interval: Interval) -> str:
    value, low, high = (f"{interval[key] * 100:.1f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
