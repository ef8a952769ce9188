"""lidr fetch: copy everything that a recipe names into the store, by digest."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.retry import REPORT_SECONDS
from lidr.components.shared.core.text import one_line
from lidr.components.shared.store.open import open_store
from lidr.pipelines.bundle import fetch_inputs, pack, unpack
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.inputs import (
    LOCAL,
    ProfileOption,
    RecipeArgument,
    SetOption,
    StoreOption,
    read_profile,
    read_recipe,
)
from lidr.pipelines.cli.sizes import size_text

if TYPE_CHECKING:
    from lidr.pipelines.bundle import FetchResult


def fetch_command(
    recipe: RecipeArgument,
    profile: ProfileOption = LOCAL,
    store: StoreOption = None,
    settings: SetOption = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Make a bundle for an offline cluster in this folder instead."),
    ] = None,
    archives: Annotated[
        bool, typer.Option("--archives", help="With --to: add archives of the images.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="Unpack the bundle in this folder into the store.")
    ] = None,
) -> None:
    """Bring everything that a recipe names into the store; done again, it does nothing."""
    if to and source:
        raise BadInput("--to makes a bundle, --from unpacks one", remedy="Give one of them.")
    if archives and not to:
        raise BadInput("--archives is for a bundle", remedy="Add --to.")
    science, place = read_recipe(recipe, None, settings), read_profile(*profile, store=store)
    try:
        with _progress() as advance:
            if to:
                results = pack(science, place, to, archives=archives, advance=advance)
            elif source:
                results = unpack(science, source, open_store(place.store), advance)
            else:
                results = fetch_inputs(science, open_store(place.store), advance)
    except KeyboardInterrupt:
        message = "lidr: stopped; running the same command again continues from here"
        print(message, file=sys.stderr, flush=True)
        os._exit(128 + signal.SIGINT)  # Python would wait for the files that its threads fetch
    _print(results)


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Show bytes and their rate: on a terminal as one line, redrawn; else every 20 seconds."""
    console = PlainConsole(stderr=True)
    end = "\r" if console.is_terminal else "\n"
    began, lock = time.monotonic(), Lock()
    done, shown = 0, began

    def advance(size: int) -> None:
        nonlocal done, shown
        with lock:
            done += size
            now = time.monotonic()
            if now - shown >= (0.2 if console.is_terminal else REPORT_SECONDS):
                shown = now
                rate = size_text(done / (now - began))
                console.print(f"lidr: {size_text(done)} fetched, {rate}/s", end=end)

    try:
        yield advance
    finally:
        if done and console.is_terminal:
            console.print()  # what is printed next begins a line of its own


def _print(results: list[FetchResult]) -> None:
    table = Table("input", "from", "size", "licence", "", box=SIMPLE_HEAD)
    table.columns[2].justify = "right"
    for column in table.columns:  # wrap addresses instead of cutting them
        column.overflow = "fold"
    for each in results:
        size = size_text(each.bytes) if each.digest else ""
        cells = (each.label, each.origin, size, each.licence, each.outcome)
        table.add_row(*(Text(one_line(cell)) for cell in cells))
    empty = Text("The recipe names nothing: the tiny world makes its own inputs.")
    PlainConsole(soft_wrap=True).print(table if results else empty)
