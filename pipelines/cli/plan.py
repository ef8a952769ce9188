"""lidr plan: what a recipe's evaluation can show, before anything runs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli.inputs import RecipeArgument, SeedOption, SetOption, read_recipe
from pipelines.cli.outputs import Output


def plan_command(
    recipe: RecipeArgument,
    seed: SeedOption = None,
    settings: SetOption = None,
    output: Annotated[
        Output, typer.Option("--output", help="How the result is printed.")
    ] = Output.TEXT,
) -> None:
    """Say how large a gain the recipe's gate can see."""
    import json

    from components.gate.power import power_table

    table = power_table(read_recipe(recipe, seed, settings))
    if output is Output.JSON:
        print(json.dumps(table))
    else:
        _print(table)


def _print(table: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    gain, fall = table["gain"], table["fall"]
    heads = [
        f"{kind} {accuracy:.0%}" for kind in ("gain", "fall") for accuracy in table["accuracies"]
    ]
    lines = Table("items", *heads, box=SIMPLE_HEAD)
    for column in lines.columns:
        column.justify = "right"
        column.no_wrap = True
    for row in table["rows"]:
        cells = [_points(value) for value in (*row["gains"], *row["falls"])]
        lines.add_row(f"{row['items']:,}{' *' * row['own']}", *cells)
    console.print(lines)
    console.print(
        f"Points that are detected in {gain['power']:.0%} of the cases, by items per language"
        f"{' (* this recipe)' if table['items'] else ''} and accuracy of M_t.\n"
        f"gain: mean over {gain['languages']} languages, above the bar of "
        f"{gain['bar'] * 100:.1f}, one-sided at alpha = {gain['alpha']:g}\n"
        f"fall: one language, proven a regression at alpha = {fall['alpha']:.2g} (Holm)\n"
        "Assumed: two equally good models differ on accuracy x (1 - accuracy) of the items; "
        f"languages correlate by {gain['correlation']:g}."
    )


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value * 100:.1f}"
