"""lidr evaluate: one or two models on a recipe's tasks, outside a run."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from lidr.components.evaluate.catalog import benchmarks
from lidr.components.evaluate.run import evaluate
from lidr.components.prepare.run import prepare
from lidr.components.report.comparison import compare, evaluated, render
from lidr.components.shared.config.machine import MACHINE
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import listening
from lidr.components.shared.models.stages import admit_stage, model_stage
from lidr.components.shared.store.open import open_store
from lidr.pipelines.begin import begin
from lidr.pipelines.cli.board import progress_text
from lidr.pipelines.cli.console import PlainConsole
from lidr.pipelines.cli.inputs import (
    LOCAL,
    ProfileOption,
    RecipeArgument,
    SeedOption,
    SetOption,
    StoreOption,
    read_profile,
    read_recipe,
)
from lidr.pipelines.cli.library_log import log_path, logging_libraries
from lidr.pipelines.cli.outputs import Output, OutputOption, say

if TYPE_CHECKING:
    from lidr.components.report.comparison import Evaluated
    from lidr.components.shared.config.recipe import Recipe
    from lidr.components.shared.store.base import Store

_INTERVAL = ("value", "low", "high")


def _list_tasks(asked: bool) -> None:
    if not asked:
        return

    console = PlainConsole(soft_wrap=True)
    for row in benchmarks():
        console.print(Text(f"{row.task}", style="bold"))
        pinned = f"@{row.revision[:12]}" if row.revision else ""
        console.print(Text(f"  {row.title}: {row.method}, {row.metric}; {row.data}{pinned}"))
        console.print(Text(f"  {' '.join(row.languages)}", style="dim"))
    raise typer.Exit


def evaluate_command(
    recipe: RecipeArgument,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="A folder, s3://, hf://org/name@<commit>, models:/name@alias or a stage of a "
            "run; twice to compare. Default: the recipe's M_0.",
        ),
    ] = None,
    store: StoreOption = None,
    profile: ProfileOption = LOCAL,
    seed: SeedOption = None,
    settings: SetOption = None,
    output: OutputOption = Output.TEXT,
    list_tasks: Annotated[
        bool,
        typer.Option(
            "--list-tasks",
            callback=_list_tasks,
            is_eager=True,
            help="Name the benchmarks that lidr knows; the harness's other tasks run, too.",
        ),
    ] = False,
) -> None:
    """Evaluate one model, or two side by side; finished evaluations are reused."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # libraries read it when they are imported

    place = read_profile(*profile, store=store)
    begun = begin(read_recipe(recipe, seed, settings), place, here=True)
    science = begun.recipe
    os.environ[MACHINE] = place.machine.text()
    home = open_store(place.store)
    _require_at_most_two(models or [])
    begun.say()
    measured = _evaluate(science, home, models or [])
    result = compare(science, measured)
    key = f"comparisons/{digest_of([result, science.model_dump(mode='json')])[:16]}.html"
    home.write(key, render(science, measured, result).encode("utf-8", "replace"))
    result["page"] = f"{home.uri}/{key}"
    if output is Output.JSON:
        print(json.dumps(result, indent=2))
    else:
        _print(science, result)


def _require_at_most_two(models: list[str]) -> None:
    if len(models) > 2 or len(set(models)) < len(models):
        raise BadInput(
            "--model takes at most two models, and different ones",
            remedy="Compare two models at a time.",
        )


def _evaluate(recipe: Recipe, home: Store, models: list[str]) -> list[Evaluated]:
    """Evaluate each model here, after admitting all of them and preparing the recipe's items."""
    text = recipe.model_dump_json()
    with logging_libraries(log_path("evaluate")) as terminal, listening(partial(_say, terminal)):
        named = [(name, model_stage(home, name)) for name in models]
        for name, uri in named:
            _admit(recipe, name, uri, terminal)
        inputs = prepare(recipe=text, store=home.uri)
        measured = named or [("M_0", inputs)]
        stages = [
            evaluate(recipe=text, store=home.uri, inputs=inputs, model=uri, iteration=0)
            for _, uri in measured
        ]
    return [
        evaluated(name, source, stage)
        for name, (source, _), stage in zip("AB", measured, stages, strict=False)
    ]


def _admit(recipe: Recipe, name: str, uri: str, terminal: TextIO) -> None:
    """Report what was decided about a model; raise if it is refused."""
    admission = admit_stage(recipe, uri, trained=False)
    for line in admission.lines:
        say(f"{name}: {line}", to=terminal)
    admission.require()


def _say(terminal: TextIO, event: dict[str, Any]) -> None:
    """Print progress, reuse, notes and warnings."""
    kind, step = event["event"], event.get("step", "")
    text = {
        "progress": progress_text(event) if kind == "progress" else "",
        "reused": "reused",
        "note": event.get("message", ""),
        "warning": f"warning: {event.get('message', '')}",
    }.get(kind, "")
    if text:
        say(f"{step}: {text}", to=terminal)


def _print(recipe: Recipe, result: dict[str, Any]) -> None:
    models = result["models"]
    names = [model["name"] for model in models]
    gains = result.get("gains", {})
    changes = ["gain", "won", "lost"] if gains else []
    table = Table("language", *names, *changes, box=SIMPLE_HEAD)
    for column in table.columns[1:]:
        column.justify = "right"
        column.no_wrap = True
    for code in recipe.languages.all:
        if code in models[0]["languages"]:
            rows = [model["languages"][code] for model in models]
            shares = [_cell(row["accuracy"], row["truncated"]["value"]) for row in rows]
            table.add_row(code, *shares, *(_changes(gains[code]) if gains else []))
    others = [_cell(model["average"], model["average_truncated"]) for model in models]
    table.add_row("others", *others, *([_gain(result["mean_gain"])] if gains else []))
    console = PlainConsole(soft_wrap=True)
    console.print(table)
    for name, model in zip(names, models, strict=True):
        console.print(Text(f"{name}  {model['source']}"))
    console.print(Text(f"page  {result['page']}"))


def _changes(row: dict[str, Any]) -> list[str]:
    return [_gain(row["gain"]), str(row["won"]), str(row["lost"])]


def _cell(interval: dict[str, float], cut: float) -> str:
    value, low, high = (f"{interval[key] * 100:.1f}" for key in _INTERVAL)
    return f"{value}\n{low} to {high}\n{cut * 100:.1f} cut"


def _gain(interval: dict[str, float]) -> str:
    value, low, high = (f"{interval[key] * 100:+.1f}" for key in _INTERVAL)
    return f"{value}\n{low} to {high}"
