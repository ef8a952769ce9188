"""The figures as one JSON and one Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.gpu_check.shapes import Result

_COLUMNS = (
    "what",
    "tokens/s",
    "with the reference pass",
    "MFU",
    "peak GiB",
    "plan GiB",
    "peak / plan",
    "remarks",
)


def with_shares(rows: Sequence[Result]) -> list[Result]:
    """Return the rows with what compares them: MFU, and the peak's share of the plan.

    MFU is the model's arithmetic, none counted twice, over the rate of the matrix product that was
    measured first on the same card; of a CPU it is not told.
    """
    rate = next((row["flops_per_second"] for row in rows if row.get("memory_gib")), 0.0)
    return [_with_shares(row, rate) for row in rows]


def _with_shares(row: Result, rate: float) -> Result:
    shares: Result = {}
    if rate and "flops_per_second" in row and "memory_gib" not in row:
        shares["mfu"] = round(row["flops_per_second"] / rate, 4)
    if row.get("peak_gib") and row.get("plan_gib"):
        shares["peak_of_plan"] = round(row["peak_gib"] / row["plan_gib"], 3)
    return {**row, **shares}


def markdown(figures: Result) -> str:
    """Return the figures as a Markdown page."""
    versions = ", ".join(f"{name} {known}" for name, known in figures["versions"].items())
    lines = [
        f"# {figures['card']}",
        "",
        f"Python {figures['python']}; {versions}. The whole check took {figures['seconds']:.0f} s.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
    ]
    lines += [f"| {' | '.join(_cells(row))} |" for row in figures["rows"]]
    return "\n".join([*lines, ""])


def _cells(row: Result) -> list[str]:
    speed = row.get("tokens_per_second") or row.get("output_tokens_per_second")
    mfu = row.get("mfu")
    return [
        row["what"],
        _number(speed, ",.0f"),
        _number(row.get("tokens_per_second_with_reference"), ",.0f"),
        "" if mfu is None else f"{mfu:.1%}",
        _number(row.get("peak_gib"), ".1f"),
        _number(row.get("plan_gib"), ".1f"),
        _number(row.get("peak_of_plan"), ".2f"),
        _remarks(row),
    ]


def _number(value: Any, form: str) -> str:
    return format(value, form) if value else ""


def _remarks(row: Result) -> str:
    if row["outcome"] != "measured":
        return str(row["outcome"]).replace("|", "/")
    if "memory_gib" in row:
        return f"{row['flops_per_second'] / 1e12:.1f} TFLOP/s, {row['memory_gib']:g} GiB"
    if "agrees" in row:
        return "; ".join(_agreement(name, row[name]) for name in ("float32", "bfloat16"))
    if "requests" in row:
        return f"{row['requests_per_second']:g} requests/s, {row['prompt_tokens']:,} prompt tokens"
    if "batch_pairs" in row:
        return f"{row['batch_pairs']} pairs in a batch"
    if "plan_host_gib" in row:
        return f"plan for the machine's memory: {row['plan_host_gib']:g} GiB"
    return ""


def _agreement(name: str, one: Result) -> str:
    return (
        f"{name}: loss {one['loss']:.5f} (differs by {one['loss_difference']:.1e}), "
        f"gradients' cosine {one['gradient_cosine']:.6f}"
    )
