"""lidr rollback: make the previous champion the champion again."""

from __future__ import annotations

import json

from lidr.components.shared.registry.promotion import rollback
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.registered import (
    HomeOption,
    ModelArgument,
    ReasonOption,
    audit_log_at,
    open_registry,
)


def rollback_command(
    name: ModelArgument,
    reason: ReasonOption = "",
    store: HomeOption = "lidr-store",
    output: OutputOption = Output.TEXT,
) -> None:
    """Make the previous champion the champion again; doing it again undoes it."""
    client = open_registry(store)
    entry = rollback(client, name, audit_log_at(client, name, store), reason)
    move = entry.move
    if output is Output.JSON:
        print(json.dumps({"name": name, **entry.to_dict()}))
    else:
        instead = f", instead of version {move.before}" if move.before else ""
        say(f"{name}/{move.version} is {move.alias} again{instead}")
