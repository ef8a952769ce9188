"""lidr relocate: point the registry and the runs at a store's new place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.registry.ancestry import open_existing
from lidr.components.shared.tracking import tracking_uri
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.registered import connect
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
        bool,
        typer.Option(
            "--verify",
            help="First compare the files of the moved models in NEW with their markers.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")
    ] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Point registered versions, and the pointers of runs, at a store's new place."""
    move = StoreMove.between(old, new)
    _require_disjoint(move)
    home = open_existing(move.new, remedy="Correct NEW.")
    client = connect(tracking_uri(home.uri), remedy="Set MLFLOW_TRACKING_URI.")
    if not dry_run:
        finish_interrupted(client)
    relocations = list(models_to_move(client, move))
    for relocation in relocations:
        require_moved(relocation, move, verify=verify)
    pointers = list(stale_pointers(home, move))
    if not dry_run:
        _relocate(client, relocations, move)
        for key, data in pointers:
            home.write(key, data)
    document = _document(relocations, move, [key for key, _ in pointers], dry_run)
    say(json.dumps(document, indent=2) if output is Output.JSON else _text(document))


def _require_disjoint(move: StoreMove) -> None:
    if move.concerns(move.new) or move.old.startswith(f"{move.new}/"):
        raise BadInput(f"{move.new} and {move.old} overlap", remedy="Give two different stores.")


def _relocate(client: Any, relocations: list[ModelRelocation], move: StoreMove) -> None:
    for relocation in relocations:
        name = relocation.model.name
        for account in relocate_model(client, relocation, move):
            say(
                f"lidr: warning: the permissions of {account} on {name!r} were not "
                "copied; an administrator must grant them again",
                error=True,
            )


def _document(
    relocations: list[ModelRelocation], move: StoreMove, pointers: list[str], dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "old": move.old,
        "new": move.new,
        "models": [relocation.model.name for relocation in relocations],
        "versions": [
            {"name": version.name, "version": version.number, "source": version.source}
            for relocation in relocations
            for version in relocation.moved(move)
        ],
        "pointers": pointers,
    }


def _text(document: dict[str, Any]) -> str:
    lines = [f"{v['name']}/{v['version']}  {v['source']}" for v in document["versions"]]
    lines += [f"{document['new']}/{key}" for key in document["pointers"]]
    verb = "would point" if document["dry_run"] else "point"
    versions, pointers = len(document["versions"]), len(document["pointers"])
    lines.append(
        f"{versions} versions and {pointers} files of runs {verb} to {document['new']}; registered "
        f"models: {', '.join(document['models']) or 'none'}."
    )
    return "\n".join(one_line(line) for line in lines)
