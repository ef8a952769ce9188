"""lidr check: is everything there that a run needs, before money is spent?"""

from __future__ import annotations

from typing import Annotated

import typer

from lidr.pipelines.checks.finding import CheckInputs
from lidr.pipelines.checks.registry import subjects_of
from lidr.pipelines.checks.runner import run
from lidr.pipelines.cli.check_table import print_findings, print_json, waiting
from lidr.pipelines.cli.inputs import (
    CLUSTER,
    ProfileOption,
    RecipeArgument,
    SetOption,
    read_profile,
    read_recipe,
)
from lidr.pipelines.cli.outputs import Output


def check_command(
    recipe: RecipeArgument,
    profile: ProfileOption = CLUSTER,
    settings: SetOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="SUBJECT", help="Look at this subject alone; repeatable."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds that each subject may take.")
    ] = 60.0,
    output: Annotated[
        Output, typer.Option("--output", help="How the result is printed.")
    ] = Output.TEXT,
) -> None:
    """Look at everything that a run needs, and say what is missing and how to fix it.

    Exits with 0 where nothing is missing, else with 2. Nothing is made, but for objects on the
    store that are gone afterwards.
    """
    inputs = CheckInputs(read_recipe(recipe, None, settings), read_profile(*profile), timeout)
    subjects = subjects_of(inputs, only or ())
    with waiting(subjects):
        found = run(subjects, timeout)
    (print_json if output is Output.JSON else print_findings)(found)
    if any(each.state == "missing" for findings in found.values() for each in findings):
        raise typer.Exit(2)
