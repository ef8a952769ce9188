"""lidr report: rewrite the report of a run, or write that of a model's runs or of two runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.report.aliases import aliases_of
from lidr.components.report.registered_model import render_model
from lidr.components.report.run import report
from lidr.components.report.runs import read_run, runs_of_model
from lidr.components.report.two_runs import render_two_runs
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import listening
from lidr.components.shared.store.runs import read_state, recipe_key, run_key
from lidr.pipelines.cli.inputs import not_empty
from lidr.pipelines.cli.outputs import say
from lidr.pipelines.local_status import existing_store

if TYPE_CHECKING:
    from lidr.components.shared.store.base import Store

RunArgument = Annotated[str | None, typer.Argument(metavar="[RUN]", help="Name of the run.")]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store", help="Folder or s3://bucket/prefix that holds the run.", callback=not_empty
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="All runs of this registered model instead."),
]
AgainstOption = Annotated[
    str | None,
    typer.Option("--against", metavar="RUN", help="Compare with this run, which is called B."),
]


def report_command(
    run: RunArgument = None,
    model: ModelOption = None,
    against: AgainstOption = None,
    store: StoreOption = "lidr-store",
) -> None:
    """Rewrite a run's report and result, or write the report of a model or of two runs."""
    if (run is None) == (model is None) or (against and run is None):
        raise BadInput(
            "lidr report takes a RUN, a RUN and --against, or --model",
            remedy="Name one run, or one model.",
        )
    home = existing_store(store)
    if model is not None:
        say(_of_model(home, model))
    elif against is not None:
        say(_of_two(home, str(run), against))
    else:
        say(_of_run(home, str(run)))


def _of_run(home: Store, run: str) -> str:
    read_state(home, run, 0)
    with listening(_warn):
        report(recipe=home.read(recipe_key(run)).decode(), store=home.uri, run=run)
    return str(json.loads(home.read(run_key(run, "result.json")))["report"])


def _warn(event: dict[str, object]) -> None:
    if event["event"] == "warning":
        say(f"lidr: {event['message']}", error=True)


def _of_model(home: Store, model: str) -> str:
    runs, unread = runs_of_model(home, model)
    aliases, unknown = aliases_of(home.uri, model)
    page = render_model(model, runs, unread, aliases, unknown)
    return _write(home, f"reports/{model}.html", page)


def _of_two(home: Store, first: str, second: str) -> str:
    page = render_two_runs(read_run(home, first), read_run(home, second))
    return _write(home, f"reports/{first}-against-{second}.html", page)


def _write(home: Store, key: str, page: str) -> str:
    home.write(key, page.encode("utf-8", "replace"))
    return f"{home.uri}/{key}"
