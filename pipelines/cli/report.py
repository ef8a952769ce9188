"""lidr report: the report of a run, written anew."""

from __future__ import annotations

from typing import Annotated

import typer

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of the run.")]
StoreOption = Annotated[
    str, typer.Option("--store", help="Folder or s3://bucket/prefix that holds the run.")
]


def report_command(run: RunArgument, store: StoreOption = "lidr-store") -> None:
    """Write a run's report and result anew, and tell MLflow what it has not heard yet."""
    import json

    from components.report.run import report
    from components.shared.progress import listening
    from components.shared.runs import read_state, recipe_key
    from components.shared.store import open_store

    home = open_store(store)
    read_state(home, run, 0)
    with listening(_warn):
        report(recipe=home.read(recipe_key(run)).decode(), store=home.uri, run=run)
    print(json.loads(home.read(f"runs/{run}/result.json"))["report"])


def _warn(event: dict[str, object]) -> None:
    import sys

    if event["event"] == "warning":
        print(f"lidr: {event['message']}", file=sys.stderr)
