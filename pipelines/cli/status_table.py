"""A run's status on a terminal: one table, or lines for what has changed."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from lidr.pipelines.cli.board import seconds_text
from lidr.pipelines.cli.console import PlainConsole, live_console
from lidr.pipelines.cli.outputs import say
from lidr.pipelines.status import END, Status, StepRow

if TYPE_CHECKING:
    from rich.console import RenderableType

Show = Callable[[Status], None]

_WIDTH = 140
"""Columns where the output is not a terminal, wide enough that no row wraps."""

_STYLES = {"failed": "red", "running": "cyan", "waiting": "yellow", "cancelled": "red"}


def as_json(status: Status) -> dict[str, Any]:
    """Return a status as plain values; the report's iteration is null."""
    rows = [
        dataclasses.asdict(row) | {"iteration": None if row.iteration == END else row.iteration}
        for row in status.rows
    ]
    return {**dataclasses.asdict(status), "rows": rows, "gpu_hours": round(status.gpu_hours, 3)}


def print_status(status: Status) -> None:
    """Print a status as a table."""
    PlainConsole(width=table_width()).print(draw_status(status))


def table_width() -> int | None:
    """Return the width to print tables in; None is the terminal's."""
    return None if sys.stdout.isatty() else _WIDTH


def draw_status(status: Status) -> RenderableType:
    """Return the table, with the lines around it."""
    table = Table(
        "model", "step", "state", "time", "progress", "rate", "GPU h", "", box=SIMPLE_HEAD
    )
    for column in table.columns[:7]:
        column.no_wrap = True
    for column in table.columns[3:7]:
        column.justify = "right"
    table.columns[7].overflow = "fold"  # users copy names of pods
    before = None
    for row in status.rows:
        model = label(row) if row.iteration != before else ""
        before = row.iteration
        state = Text(row.state or "begun", style=_STYLES.get(row.state, ""))
        table.add_row(model, row.step, state, *_figures(row), Text(_reason(row)))
    hours = f", {status.gpu_hours:.1f} GPU hours so far" if status.gpu_hours else ""
    head = Text(f"{status.run}: {status.state}{hours}  ({status.place})", style="bold")
    notes = [Text(note) for note in status.notes]
    links = [
        Text(f"{name:<9} {link}", no_wrap=True, overflow="ignore")
        for name, link in status.links.items()
    ]
    return Group(head, *([table] if status.rows else []), *notes, *links)


def label(row: StepRow) -> str:
    """Return the name of a row's model, e.g. `M_1`; "end" for the report."""
    return "end" if row.iteration == END else f"M_{row.iteration}"


def _reason(row: StepRow) -> str:
    """Return why a row's step waits or failed, and in which pod."""
    pod = f"pod {row.pod}" if row.pod else ""
    return f"{row.note} ({pod})" if row.note and pod else row.note or pod


def _figures(row: StepRow) -> tuple[str, str, str, str]:
    return (
        seconds_text(row.seconds) if row.seconds else "",
        f"{row.done:,}/{row.total:,} {row.unit}".rstrip() if row.total else "",
        f"{row.rate:,.0f} {row.rate_unit}/s" if row.rate else "",
        f"{row.gpu_seconds / 3600:.1f}" if row.gpu_seconds else "",
    )


@contextmanager
def open_table() -> Iterator[Show]:
    """Show a status while it changes: redrawn on a terminal, changes as lines elsewhere.

    Yields:
        A function that takes each status.
    """
    if (console := live_console()) is None:
        yield _Changes().take
        return

    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield lambda status: live.update(draw_status(status), refresh=True)


class _Changes:
    """Prints each step's state when it changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}

    def take(self, status: Status) -> None:
        for row in status.rows:
            reason = _reason(row)
            line = f"{row.state} ({reason})".lstrip() if reason else row.state
            if self._known.get(row.place) == line:
                continue
            self._known[row.place] = line
            took = f", {seconds_text(row.seconds)}" if row.state == "done" and row.seconds else ""
            say(f"{label(row)} {row.step} {line}{took}", error=True)
