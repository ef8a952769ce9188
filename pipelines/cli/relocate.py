"""lidr relocate: point the registry and the runs at a store's new place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.registry.ancestry import open_existing
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.registered import open_registry
from lidr.pipelines.maintenance.relocate_move import StoreMove
from lidr.pipelines.maintenance.relocate_pointers import stale_pointers
from lidr.pipelines.maintenance.relocate_registry import (
    finish_interrupted,
    models_to_move,
    relocate_model,
    require_moved,
)

if TYPE_CHECKING:
    from lidr.pipelines.maintenance.relocate_registry import ModelRelocation


def relocate_command(
    old: Annotated[str, typer.Argument(metavar="OLD", help="Where the store was.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Where it is now.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the digests of all models there first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Point registered versions, and the pointers of runs, at a store's new place."""
    move = StoreMove.between(old, new)
    _require_disjoint(move)
    home = open_existing(move.new)
    client = open_registry(home.uri)
    if not dry_run:
        finish_interrupted(client)
    models = list(models_to_move(client, move))
    for moving in models:
        require_moved(moving, move, verify=verify)
    pointers = list(stale_pointers(home, move))
    if not dry_run:
        _relocate(client, models, move)
        for key, data in pointers:
            home.write(key, data)
    document = _document(models, move, [key for key, _ in pointers], dry_run)
    say(json.dumps(document, indent=2) if output is Output.JSON else _text(document))


def _require_disjoint(move: StoreMove) -> None:
    if move.concerns(move.new) or move.old.startswith(f"{move.new}/"):
        raise BadInput(f"{move.new} and {move.old} overlap", remedy="Give two different stores.")


def _relocate(client: Any, models: list[ModelRelocation], move: StoreMove) -> None:
    for moving in models:
        for account in relocate_model(client, moving, move):
            say(
                f"lidr: warning: the permissions of {account} on {moving.model.name!r} were not "
                "copied; an administrator must grant them again",
                error=True,
            )


def _document(
    models: list[ModelRelocation], move: StoreMove, pointers: list[str], dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "old": move.old,
        "new": move.new,
        "versions": [
            {"name": version.name, "version": version.number, "source": version.source}
            for moving in models
            for version in moving.moved(move)
        ],
        "pointers": pointers,
    }


def _text(document: dict[str, Any]) -> str:
    lines = [f"{v['name']}/{v['version']}  {v['source']}" for v in document["versions"]]
    lines += [f"{document['new']}/{key}" for key in document["pointers"]]
    verb = "would point" if document["dry_run"] else "point"
    versions, pointers = len(document["versions"]), len(document["pointers"])
    lines.append(f"{versions} versions and {pointers} files of runs {verb} to {document['new']}.")
    return "\n".join(one_line(line) for line in lines)
