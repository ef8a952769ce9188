"""A warning about answers that were cut at the token limit, which lowers the accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lidr.components.shared.stats.intervals import Interval


def truncation_warning(languages: Mapping[str, Any]) -> str:
    """Return a warning if any accuracy would be higher if all cut answers were right, else "".

    Args:
        languages: `accuracy`, `if_cut_right` and `truncated` of an evaluation, by language code.
    """
    changed = [
        f"{code} {_interval_text(row['accuracy'])} would be {_interval_text(row['if_cut_right'])} "
        f"({row['truncated']['value']:.1%} cut)"
        for code, row in languages.items()
        if _interval_text(row["accuracy"]) != _interval_text(row["if_cut_right"])
    ]
    if not changed:
        return ""
    return (
        "answers were cut at the token limit; if all of them were right, "
        f"{'; '.join(changed)}. A larger evaluation.max_tokens would tell"
    )


def _interval_text(interval: Interval) -> str:
    value, low, high = (f"{interval[key] * 100:.1f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"
