"""Throughput and failure shares from the counts of a generate or translate stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

Log = Callable[[str, float], None]
"""Takes a metric's name and value, as KFP's `Metrics.log_metric` does."""

MEASURED = ("tokens_per_second", "prefix_cache_hit_rate")
"""Counts that an engine measures itself; not all engines do."""


def ignore(_name: str, _value: float) -> None:
    """Log nowhere."""


def stage_figures(counts: Mapping[str, Any]) -> dict[str, float]:
    """Return throughput and failure shares from the counts of a generate or translate stage."""
    parts = counts["languages"] if "languages" in counts else counts["directions"]
    failures: Counter[str] = Counter()
    for part in parts.values():
        failures.update(part["failures"])
    total = counts["responses"] if "responses" in counts else counts["translations"]
    return {
        **{name: float(counts[name]) for name in MEASURED if name in counts},
        **failure_shares(failures, total),
    }


def failure_shares(failures: Counter[str], total: int) -> dict[str, float]:
    """Return the share of requests that failed, in total and by reason."""
    total = max(total, 1)
    return {
        "failed_share": failures.total() / total,
        **{f"{reason}_share": count / total for reason, count in sorted(failures.items())},
    }
