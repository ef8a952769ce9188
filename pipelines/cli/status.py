"""lidr status: how far a run is, on this machine or in Kubeflow."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.inputs import LOCAL, ProfileOption, StoreOption, read_profile
from lidr.pipelines.cli.outputs import Output, OutputOption, say
from lidr.pipelines.cli.status_table import as_json, print_status, table_width
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.listing import list_experiment
from lidr.pipelines.cluster.status import Watcher
from lidr.pipelines.local_status import existing_store, local_state, local_status
from lidr.pipelines.status import Status
from lidr.pipelines.stored import known_runs

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]


def status_command(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Its name. Default: list all.")] = "",
    profile: ProfileOption = LOCAL,
    store: StoreOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show how far a run is, what it waits for, and how long its steps have taken."""
    place = read_profile(*profile, store=store)
    if not run:
        rows, reasons = _listed(place)
        _print_list(rows, output)
        for reason in reasons:
            say(f"lidr: {reason}", error=True)
        return

    status = _status(place, run)
    if output is Output.JSON:
        print(json.dumps(as_json(status)))
    else:
        print_status(status)


def _status(place: Profile, run: str) -> Status:
    if place.runner == "local":
        return local_status(existing_store(place.store), run)

    return Watcher(Client(place), place, run).read_status()


def _listed(place: Profile) -> tuple[list[dict[str, str]], list[str]]:
    """Return the runs as rows, and for each unreadable one the reason."""
    if place.runner != "local":
        return list_experiment(Client(place)), []

    store = existing_store(place.store)
    rows, reasons = [], []
    for name in known_runs(store):
        try:
            state = local_state(store, name)
        except StoreError:  # it concerns every run
            raise
        except BadInput as error:
            state = "unreadable"
            reasons.append(str(error))
        rows.append({"run": name, "state": state})
    return rows, reasons


def _print_list(rows: list[dict[str, str]], output: Output) -> None:
    if output is Output.JSON:
        print(json.dumps(rows))
        return

    heads = list(rows[0]) if rows else ["run", "state"]
    table = Table(box=SIMPLE_HEAD)
    for head in heads:
        folds = head in ("run", "kind")  # users copy names: these fold before a state is cut
        table.add_column(head, no_wrap=not folds, overflow="fold" if folds else "ellipsis")
    for row in rows:
        table.add_row(*(Text(row[head]) for head in heads))
    PlainConsole(width=table_width()).print(table)
