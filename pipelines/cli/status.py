"""lidr status: how far a run is, on this machine or in Kubeflow."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lidr.components.shared.config.profile import Profile
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.inputs import LOCAL, ProfileOption, StoreOption, read_profile
from lidr.pipelines.cli.outputs import Output, OutputOption
from lidr.pipelines.cli.status_table import as_json, print_status, table_width
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.listing import list_experiment
from lidr.pipelines.cluster.status import Watcher
from lidr.pipelines.local_status import existing_store, local_status
from lidr.pipelines.stored import known_runs

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]


def status_command(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Its name. Default: list all.")] = "",
    profile: ProfileOption = LOCAL,
    store: StoreOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show how far a run is, what it waits for, and what it has cost."""
    place = read_profile(*profile, store=store)
    if not run:
        _print_list(_listed(place), output)
        return

    status = _status(place, run)
    if output is Output.JSON:
        print(json.dumps(as_json(status)))
    else:
        print_status(status)


def _status(place: Profile, run: str) -> Any:
    if place.runner == "local":
        return local_status(existing_store(place.store), run)

    return Watcher(Client(place), place, run).read_status()


def _listed(place: Profile) -> list[dict[str, str]]:
    if place.runner == "local":
        store = existing_store(place.store)
        return [
            {"run": name, "state": local_status(store, name).state} for name in known_runs(store)
        ]

    return list_experiment(Client(place))


def _print_list(rows: list[dict[str, str]], output: Output) -> None:
    if output is Output.JSON:
        print(json.dumps(rows))
        return

    heads = list(rows[0]) if rows else ["run", "state"]
    table = Table(*heads, box=SIMPLE_HEAD)
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        table.add_row(*(Text(row[head]) for head in heads))
    PlainConsole(width=table_width()).print(table)
