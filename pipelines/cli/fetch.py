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
    from lidr.components.shared.config.profile import Profile
    from lidr.components.shared.config.recipe import Recipe
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
    """Bring everything that a recipe names into the store; a second call copies nothing."""
    if to and source:
        raise BadInput("--to makes a bundle, --from unpacks one", remedy="Give one of them.")
    if archives and not to:
        raise BadInput("--archives is for a bundle", remedy="Add --to.")
    loaded = read_recipe(recipe, None, settings)
    _print(_fetch(loaded, read_profile(*profile, store=store), to, source, archives=archives))


def _fetch(
    recipe: Recipe, profile: Profile, to: Path | None, source: Path | None, *, archives: bool
) -> list[FetchResult]:
    """Fetch into the profile's store, or into the bundle `to`, or unpack the bundle `source`."""
    try:
        with _progress() as advance:
            if to:
                return pack(recipe, profile, to, archives=archives, advance=advance)
            if source:
                return unpack(recipe, source, open_store(profile.store), advance)
            return fetch_inputs(recipe, open_store(profile.store), advance)
    except KeyboardInterrupt:
        message = "lidr: stopped; running the same command again continues from here"
        print(message, file=sys.stderr, flush=True)
        os._exit(128 + signal.SIGINT)  # Python would wait for the files that its threads fetch


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Show bytes and their rate: on a terminal as one line, redrawn; else every 20 seconds."""
    console = PlainConsole(stderr=True)
    began, lock = time.monotonic(), Lock()
    done, shown = 0, began

    def advance(size: int) -> None:
        nonlocal done, shown
        with lock:
            done += size
            now = time.monotonic()
            text = f"{size_text(done)} fetched, {size_text(done / (now - began))}/s"
            if console.is_interactive:
                line.update(text)
            elif now - shown >= REPORT_SECONDS:
                shown = now
                console.print(f"lidr: {text}")

    with console.status("fetching") as line:
        yield advance


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
