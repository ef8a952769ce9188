"""The live screen of `lidr run`: redrawn on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lidr.pipelines.cli.board import (
    Board,
    BoardStep,
    Event,
    Scores,
    label,
    progress_text,
    seconds_text,
)
from lidr.pipelines.cli.console import live_console
from lidr.pipelines.cli.outputs import say

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from lidr.components.shared.config.recipe import Recipe

Watch = Callable[[Sequence[Event]], None]

_MAX_MESSAGES = 4
_QUIET_SECONDS = 30.0
"""Without a terminal: seconds from the last line on a step to the next line of progress."""

_ANY_WIDTH = 10_000
"""More columns than a table needs."""


@contextmanager
def open_screen(recipe: Recipe, run: str) -> Iterator[Watch]:
    """Show a run while it happens.

    Yields:
        A function to call about ten times a second with the new events (maybe an empty list).
    """
    board = Board(recipe.languages.all)
    if (console := live_console()) is None:
        print(f"lidr run {run}", file=sys.stderr)
        yield LinePrinter(board).take
        return

    title = f"lidr run {run}, at most {recipe.gate.max_iterations} iterations"
    began = time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def take(events: Sequence[Event]) -> None:
            for event in events:
                board.take(event)
            live.update(draw(board, title, time.monotonic() - began), refresh=True)

        yield take


class LinePrinter:
    """The screen without a terminal: one line for each finished step and each message."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._printed = 0
        self._next = time.monotonic() + _QUIET_SECONDS

    def take(self, events: Sequence[Event]) -> None:
        """Update the board with events and print what is new."""
        for event in events:
            step = self._board.step_of(event)
            self._board.take(event)
            for message in self._board.messages[self._printed :]:
                say(message, error=True)
            self._printed = len(self._board.messages)
            if step is not None and step.seconds is not None:
                self._say_finished(step)
        if time.monotonic() > self._next:
            for step in self._board.running:
                if step.progress:
                    done = progress_text(step.progress)
                    say(f"{label(step.iteration)} {step.title}: {done}", error=True)
                    self._next = time.monotonic() + _QUIET_SECONDS

    def _say_finished(self, step: BoardStep) -> None:
        say(f"{label(step.iteration)} {step.outcome}", error=True)
        self._next = time.monotonic() + _QUIET_SECONDS
        measured = {"evaluate": {"accuracy": self._board.accuracy}, "judge": self._board.judged}
        for name, by_iteration in measured.get(step.name, {}).items():
            known = by_iteration.get(step.iteration, {})
            cut = self._board.cut.get(step.iteration, {}) if step.name == "evaluate" else {}
            scores = (
                f"{code} {_score(value, cut.get(code), ' ')}" for code, value in known.items()
            )
            say(f"{label(step.iteration)} {name}: {', '.join(scores)}", error=True)


def draw(board: Board, title: str, elapsed: float) -> RenderableType:
    """Return the screen's content.

    Args:
        board: the run so far.
        title: first line.
        elapsed: seconds since the start.
    """
    parts: list[RenderableType] = [Text(f"{title} · {seconds_text(elapsed)}", style="bold")]
    for iteration, steps in groupby(board.steps, key=lambda step: step.iteration):
        done = " · ".join(step.outcome for step in steps if step.seconds is not None)
        parts.append(Text(f"{label(iteration):>4}  {done}"))
    parts += [_draw_running(step) for step in board.running]
    measured = {"accuracy": board.accuracy, **board.judged}
    parts += [
        _ScoreTable(board, name, scores, board.cut if name == "accuracy" else {})
        for name, scores in measured.items()
        if scores
    ]
    parts += [Text(each, style="dim") for each in board.messages[-_MAX_MESSAGES:]]
    return Group(*parts)


def _draw_running(step: BoardStep) -> Table:
    grid = Table.grid(padding=(0, 1))
    name = Text(f"   ▸  {step.title}", style="bold cyan")
    if step.progress is None:
        grid.add_row(name, Text("starting", style="dim"))
    else:
        total, done = step.progress["total"], step.progress["done"]
        bar = ProgressBar(total=total, completed=done, width=30)
        grid.add_row(name, bar, Text(progress_text(step.progress)))
    return grid


@dataclass(frozen=True)
class _ScoreTable:
    """Scores by language; if not all fit, of the dominant one, and the others' mean and lowest.

    Attributes:
        board: the run so far.
        name: of the score.
        scores: by iteration.
        cut: shares of answers that were cut at the token limit, by iteration.
    """

    board: Board
    name: str
    scores: Mapping[int, Scores]
    cut: Mapping[int, Scores]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = self._table(self.board.languages, lowest=False)
        width = console.measure(whole, options=options.update_width(_ANY_WIDTH)).minimum
        fits = width <= options.max_width
        yield whole if fits else self._table(self.board.languages[:1], lowest=True)

    def _table(self, codes: Sequence[str], *, lowest: bool) -> Table:
        last = ["others", "lowest"] if lowest else ["others"]
        table = Table(self.name, *codes, *last, box=SIMPLE_HEAD)
        table.columns[0].no_wrap = True
        for column in table.columns[1:]:
            column.justify = "right"
        for iteration, known in sorted(self.scores.items()):
            shares = self.cut.get(iteration, {})
            cells = [_score(known.get(code), shares.get(code), "\n") for code in codes]
            cells.append(_score(self.board.average(known), self.board.average(shares), "\n"))
            table.add_row(label(iteration), *cells, *([self._lowest(known)] if lowest else []))
        return table

    def _lowest(self, known: Scores) -> str:
        """Return the lowest score of the other languages, with its language."""
        others = [code for code in self.board.languages[1:] if code in known]
        code = min(others, key=known.__getitem__, default="")
        return f"{code} {known[code]:.1%}" if code else ""


def _score(value: float | None, cut: float | None, joint: str) -> str:
    """Return a score with the share of answers that were cut at the token limit."""
    if value is None:
        return ""
    return f"{value:.1%}" if cut is None else f"{value:.1%}{joint}({cut:.1%} cut)"
