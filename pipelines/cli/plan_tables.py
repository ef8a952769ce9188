"""A plan in a terminal: tables of its stages, of simulated runs, and of the gate's power."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from lidr.pipelines.cli.console import PlainConsole

_GIB = 1 << 30

_WIDTH = 110
"""Columns that the tables need; on a narrower terminal lines wrap, so that no figure is cut."""


def print_plan(plan: dict[str, Any]) -> None:
    """Print a plan as `planning.plan_data.as_data` returns it, with its simulation and power."""
    width = max(PlainConsole().width, _WIDTH)
    console = PlainConsole(soft_wrap=True, width=width)
    _print_stages(console, plan)
    _print_facts(console, plan)
    if plan["simulation"]:
        _print_simulation(console, plan)
    _print_power(console, plan["power"])


def _print_stages(console: PlainConsole, plan: dict[str, Any]) -> None:
    heads = ("stage", "times", "GPUs", "requests", "tokens in", "tokens out", "time", "GPU hours")
    priced = bool(plan["total"]["cost"])
    table = _table([*heads, plan["currency"]] if priced else heads)
    for stage in [*plan["stages"], plan["total"]]:
        cells = [
            stage["stage"],
            f"{stage['times']:,}",
            _count(stage["gpus"]),
            _count(stage["requests"]),
            _count(stage["prompt_tokens"]),
            _count(stage["output_tokens"]),
            _time(stage["seconds"]),
            f"{stage['gpu_hours']:,.2f}" if stage["gpus"] else "-",
        ]
        cost = [f"{stage['cost']:,.2f}" if stage["gpus"] else "-"] if priced else []
        table.add_row(*cells, *cost, end_section=stage is plan["stages"][-1])
    console.print(table)


def _print_facts(console: PlainConsole, plan: dict[str, Any]) -> None:
    memory, store = plan["memory"], plan["store_bytes"]
    fits = {None: "", True: ", which fits", False: f", which does not fit: {memory['remedy']}"}
    sizes = ", ".join(f"{name} {size / _GIB:,.1f} GiB" for name, size in store.items())
    console.print(
        f"{plan['parameters']:,} parameters; a training rank needs "
        f"{memory['peak'] / _GIB:,.1f} GiB{fits[memory['fits']]}.\n"
        f"Store: {sizes} (checkpoints are deleted when training ends). "
        f"Pods: {plan['total']['pods']:,}."
    )
    if plan["calibration"]:
        console.print(f"Calibrated by {plan['calibration']}.")
    for note in plan["notes"]:
        console.print(f"Note: {note}.")
    console.print()


def _print_simulation(console: PlainConsole, plan: dict[str, Any]) -> None:
    priced = bool(plan["total"]["cost"])
    heads = ("GPUs", "median", "90% within", "GPU hours", "nodes lost", "waited")
    table = _table([*heads, plan["currency"]] if priced else heads)
    for row in plan["simulation"]:
        seconds = row["seconds"]
        cells = [
            f"{row['gpus']:,}",
            _time(seconds["median"]),
            _time(seconds["p90"]),
            _amount(row["gpu_hours"]["mean"]),
            _amount(row["nodes_lost"]),
            _time(row["waited_seconds"]),
        ]
        cost = row["cost"]["mean"]
        table.add_row(*cells, *(["never" if cost is None else f"{cost:,.2f}"] if priced else []))
    console.print(table)
    for row in plan["simulation"]:
        step = row["never"]
        lost = "would never end, because its nodes are lost before they finish a piece"
        never = [f"{step} {lost}"] if step else []
        for note in [*row["notes"], *never]:
            console.print(f"{row['gpus']:,} GPUs: {note}.")
    console.print()


def _print_power(console: PlainConsole, power: dict[str, Any]) -> None:
    gain, fall = power["gain"], power["fall"]
    heads = [
        f"{kind}\n{accuracy:.0%}" for kind in ("gain", "fall") for accuracy in power["accuracies"]
    ]
    bars = {name: f"{name.replace('_', '-')}\n> {bar:.0%}" for name, bar in power["bars"].items()}
    table = _table(["items", *heads, *bars.values()])
    table.columns[0].justify = "right"
    for row in power["rows"]:
        cells = [_points(value) for value in (*row["gains"], *row["falls"], *row["bars"].values())]
        table.add_row(f"{row['items']:,}{' *' * row['own']}", *cells)
    console.print(table)
    console.print(
        f"Points that are detected in {gain['power']:.0%} of the cases, by items per language"
        f"{' (* this recipe)' if power['items'] else ''} and accuracy of M_t.\n"
        f"gain: mean over {gain['languages']} languages, above the bar of "
        f"{gain['min_gain'] * 100:.1f}, one-sided at alpha = {gain['alpha']:g}\n"
        f"fall: one language, beyond a tolerance of {fall['tolerance'] * 100:.1f} and proven at "
        f"alpha = {fall['alpha']:.2g} (Holm): a regression\n"
        + _bars_text(power, fall)
        + "Assumed: two equally good models differ on accuracy x (1 - accuracy) of the items; "
        f"languages correlate by {gain['correlation']:g}."
    )


def _bars_text(power: dict[str, Any], fall: dict[str, Any]) -> str:
    if not power["bars"]:
        return ""
    names = " and ".join(name.replace("_", "-") for name in power["bars"])
    return (
        f"{names}: percent of flawed answers in one language that break the bar at alpha = "
        f"{fall['alpha']:.2g}, if M_t has half the bar; "
        f"the test needs at least {power['least']} items\n"
    )


def _table(heads: Sequence[str]) -> Table:
    """Return a table; all its columns but the first hold numbers."""
    table = Table(*heads, box=SIMPLE_HEAD)
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _count(number: float) -> str:
    """Return 950, 12.3k, 4.5M, or - for 0."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= size:
            return f"{number / (1e3 if unit == 'k' else size):,.1f}{unit}"
    return f"{number:,.0f}" if number else "-"


def _amount(number: float | None) -> str:
    return "never" if number is None else f"{number:,.1f}"


def _time(seconds: float | None) -> str:
    """Return 45 s, 12 min, 3.4 h or 5.6 days."""
    if seconds is None:
        return "never"
    for name, size, start in (("days", 86400, 48 * 3600), ("h", 3600, 5400), ("min", 60, 90)):
        if seconds >= start:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.0f} s"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f}"
