"""lidr history: who promoted what, when and why, and whether MLflow agrees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lidr.components.shared.core.text import one_line
from lidr.components.shared.registry.history import history
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.outputs import Output, OutputOption
from lidr.pipelines.cli.registered import HomeOption, ModelArgument, open_registry

if TYPE_CHECKING:
    from lidr.components.shared.registry.history import History, HistoryRow


def history_command(
    name: ModelArgument,
    store: HomeOption = "lidr-store",
    output: OutputOption = Output.TEXT,
) -> None:
    """List the promotions of a registered model, the oldest first."""
    found = history(open_registry(store), name)
    if output is Output.JSON:
        print(json.dumps(_to_dict(found), indent=2))
    else:
        _print(found)


def _to_dict(found: History) -> dict[str, Any]:
    return {
        "name": found.model.name,
        "aliases": dict(found.model.aliases),
        "entries": [row.entry.to_dict() | {"note": row.note} for row in found.rows],
        "unexplained": list(found.unexplained),
    }


def _print(found: History) -> None:
    table = Table("when (UTC)", "what", "from", "to", "gate", "who", "why", box=SIMPLE_HEAD)
    table.columns[0].no_wrap = True
    for row in found.rows:
        table.add_row(*(Text(cell) for cell in _cells(row)))
    console = PlainConsole(soft_wrap=True)
    console.print(table if found.rows else Text("Nothing has been promoted yet."))
    aliases = sorted(found.model.aliases.items())
    console.print(Text("now: " + (", ".join(f"{a} = {n}" for a, n in aliases) or "no alias")))
    for sentence in found.unexplained:
        console.print(Text(f"warning: {sentence}"))


def _cells(row: HistoryRow) -> list[str]:
    """Return a row's cells, each on one line and without control codes."""
    entry, move = row.entry, row.entry.move
    what = f"{move.action} {move.alias}{' (forced)' * move.forced}"
    cells = [
        entry.time[:19].replace("T", " "),
        what,
        "" if move.before is None else str(move.before),
        str(move.version),
        move.verdict,
        entry.actor,
        "; ".join(part for part in (move.reason, f"({row.note})" * bool(row.note)) if part),
    ]
    return [one_line(cell) for cell in cells]
