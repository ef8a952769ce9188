"""The command line, `lidr`: one module a command, imported when that command is asked for."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.redaction import redact_exception
from lidr.components.shared.core.retry import answering_quickly
from lidr.components.shared.core.text import printable

COMMANDS = {
    "run": "Run the loop on this machine; running it again continues where it stopped.",
    "evaluate": "Evaluate one model, or two side by side; finished evaluations are reused.",
    "compile": "Compile the loop for Kubeflow Pipelines.",
    "fetch": "Bring everything that a recipe names into the store; a second call copies nothing.",
    "check": "Check everything that a run needs, and say what is missing and how to fix it.",
    "submit": "Run a recipe in Kubeflow; the same command again finds the same run.",
    "status": "Show how far a run is, what it waits for, and how long its steps have taken.",
    "notify": "Send notices of runs that ended, failed, wait or stand still; each is sent once.",
    "logs": "Print the logs of a run's steps.",
    "cancel": "End a run, and its schedule if it has one. Finished stages stay.",
    "plan": "Say what a recipe takes (time, GPUs, memory, store, cost) and what its gate can see.",
    "report": "Rewrite a run's report and result, or write the report of a model or of two runs.",
    "lineage": "Follow a version back to the base model and the prompt files.",
    "export": "Write a version as transformers and vLLM load it, and a card made from its lineage.",
    "prune": "Remove model versions, stages and checkpoints that nothing kept refers to.",
    "relocate": "Point registered versions, and the pointers of runs, at a store's new place.",
    "promote": "Promote a version that passed the gate; the champion before it becomes `previous`.",
    "rollback": "Make the previous champion the champion again; doing it again undoes it.",
    "history": "List the promotions of a registered model, the oldest first.",
}
"""The first line of each command's help; the module of the same name holds the command."""


class Commands(TyperGroup):
    """The commands; only the one that was asked for is imported."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=line) for name, line in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of the command that was asked for, the command, and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load_command(name) if name else command, rest


def load_command(name: str) -> Any:
    """Return a command with all its options."""
    module = importlib.import_module(f"lidr.pipelines.cli.{name}")
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(name)(getattr(module, f"{name}_command"))
    return typer.main.get_command(alone)


app = typer.Typer(
    name="lidr",
    cls=Commands,
    help="Language models that teach themselves the languages they are weak in.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; exit with 0 ok, 1 failure, 2 usage or bad input, 3 gate refused."""
    try:
        with answering_quickly():
            app()
    except LidrError as error:
        print(f"lidr: error: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        redact_exception(error)  # before Python prints its traceback
        raise


def _version(asked: bool) -> None:
    if asked:
        print(f"lidr {version('lidr')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Language models that teach themselves the languages they are weak in."""
