"""The command line, `lidr`. Commands import what they need when they run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from components.shared.errors import LidrError
from components.shared.redaction import cleanse
from components.shared.retrying import answering_quickly
from components.shared.text import printable
from pipelines.cli.cancel import cancel_command
from pipelines.cli.check import check_command
from pipelines.cli.compile import compile_command
from pipelines.cli.evaluate import evaluate_command
from pipelines.cli.history import history_command
from pipelines.cli.lineage import lineage_command
from pipelines.cli.logs import logs_command
from pipelines.cli.plan import plan_command
from pipelines.cli.promote import promote_command
from pipelines.cli.prune import prune_command
from pipelines.cli.relocate import relocate_command
from pipelines.cli.report import report_command
from pipelines.cli.rollback import rollback_command
from pipelines.cli.run import run_command
from pipelines.cli.status import status_command
from pipelines.cli.submit import submit_command

app = typer.Typer(
    name="lidr",
    help="Language models that teach themselves the languages they are weak in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("run")(run_command)
app.command("evaluate")(evaluate_command)
app.command("compile")(compile_command)
app.command("check")(check_command)
app.command("submit")(submit_command)
app.command("status")(status_command)
app.command("logs")(logs_command)
app.command("cancel")(cancel_command)
app.command("plan")(plan_command)
app.command("report")(report_command)
app.command("lineage")(lineage_command)
app.command("prune")(prune_command)
app.command("relocate")(relocate_command)
app.command("promote")(promote_command)
app.command("rollback")(rollback_command)
app.command("history")(history_command)


def main() -> None:
    """Run the command line; exit with 0 ok, 1 failure, 2 usage or bad input, 3 gate refused."""
    try:
        with answering_quickly():
            app()
    except LidrError as error:
        print(f"lidr: error: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        cleanse(error)  # a traceback follows
        raise


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"lidr {version('lidr')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Language models that teach themselves the languages they are weak in."""
