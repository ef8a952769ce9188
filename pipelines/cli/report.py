"""lidr report: the report of a run, written anew."""

from __future__ import annotations

from typing import Annotated

import typer

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]
StoreOption = Annotated[
    str, typer.Option("--store", help="Folder or s3://bucket/prefix that holds the run.")
]


def report_command(run: RunArgument, store: StoreOption = "lidr-store") -> None:
    """Write a run's report and result anew, and say where they are."""
    import json
    import os

    from components.report.run import report
    from components.shared.progress import EVENTS_VARIABLE
    from components.shared.runs import read_state, recipe_key
    from components.shared.store import open_store

    home = open_store(store)
    read_state(home, run, 0)
    os.environ[EVENTS_VARIABLE] = os.devnull
    report(recipe=home.read(recipe_key(run)).decode(), store=home.uri, run=run)
    print(json.loads(home.read(f"runs/{run}/result.json"))["report"])
