"""lidr plan: what a recipe takes and what its evaluation can show, before anything runs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lidr.components.gate.power import power_table
from lidr.components.shared.core.errors import BadInput
from lidr.pipelines.cli.inputs import (
    UNSET,
    ProfileOption,
    RecipeArgument,
    SeedOption,
    SetOption,
    or_default,
    read_profile,
    read_recipe,
)
from lidr.pipelines.cli.outputs import Output, OutputOption
from lidr.pipelines.cli.plan_tables import print_plan
from lidr.pipelines.planning import measured
from lidr.pipelines.planning.calibration import dump, load_calibration
from lidr.pipelines.planning.estimate import PlanInputs, estimate
from lidr.pipelines.planning.figures import figures
from lidr.pipelines.planning.plan_data import as_data
from lidr.pipelines.planning.queueing import Tenants
from lidr.pipelines.planning.requests import read_prompts
from lidr.pipelines.planning.scenario import Scenario, simulate_plan
from lidr.pipelines.planning.shapes import model_config
from lidr.pipelines.planning.simulator import REPLACEMENT_SECONDS, REPLICATIONS, Trouble

CalibrateOption = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--calibrate",
        metavar="STORE RUN",
        help="Print the calibration file of a finished run, and nothing else.",
    ),
]
CalibrationOption = Annotated[
    Path | None, typer.Option("--calibration", help="Lengths and speeds measured by a run.")
]
GpusOption = Annotated[
    str, typer.Option("--gpus", metavar="N,N,...", help="Simulate with each number of GPUs.")
]
MtbfOption = Annotated[
    float | None,
    typer.Option(
        "--node-mtbf-hours", min=0.01, help="Simulate nodes that fail after this long on average."
    ),
]
ReplacementOption = Annotated[
    float | None,
    typer.Option(
        "--replacement-minutes",
        min=0.0,
        help=f"Until a lost node is replaced. Default: {REPLACEMENT_SECONDS / 60:g}.",
    ),
]
SlownessOption = Annotated[
    float,
    typer.Option("--slowness", min=0.0, max=2.0, help="Log-normal spread of the nodes' pace."),
]
LoadOption = Annotated[
    float,
    typer.Option("--other-load", min=0.0, max=0.95, help="Share of the GPUs that others use."),
]
ReplicationsOption = Annotated[
    int | None,
    typer.Option(
        "--replications",
        min=2,
        max=100_000,
        help=f"Simulated runs for each number of GPUs. Default: {REPLICATIONS}.",
    ),
]


def plan_command(
    context: typer.Context,
    recipe: RecipeArgument = "",
    profile: ProfileOption = UNSET,
    seed: SeedOption = None,
    settings: SetOption = None,
    gpus: GpusOption = "",
    node_mtbf_hours: MtbfOption = None,
    replacement_minutes: ReplacementOption = None,
    slowness: SlownessOption = 0.0,
    other_load: LoadOption = 0.0,
    replications: ReplicationsOption = None,
    calibration: CalibrationOption = None,
    calibrate: CalibrateOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Say what a recipe takes (time, GPUs, memory, store, cost) and what its gate can see."""
    if calibrate is not None:
        _require_calibrate_alone(context)
        print(dump(measured.calibrate(*calibrate)), end="")
        return
    if replacement_minutes is not None and not node_mtbf_hours:
        raise BadInput(
            "--replacement-minutes needs nodes that fail", remedy="Add --node-mtbf-hours."
        )
    simulated = bool(gpus or node_mtbf_hours or slowness or other_load)
    if replications is not None and not simulated:
        raise BadInput(
            "--replications needs a simulation",
            remedy="Add --gpus, --node-mtbf-hours, --slowness or --other-load.",
        )
    inputs = _inputs(recipe, or_default(profile), seed, settings, calibration)
    scenario = None
    if simulated:
        mtbf_hours = math.inf if node_mtbf_hours is None else node_mtbf_hours
        minutes = replacement_minutes
        seconds = REPLACEMENT_SECONDS if minutes is None else 60 * minutes
        trouble = Trouble(mtbf_hours, seconds, slowness, Tenants(load=other_load))
        scenario = Scenario(
            _numbers(gpus), trouble, replications or REPLICATIONS, inputs.recipe.seed
        )
    plan = _plan(inputs, scenario)
    if output is Output.JSON:
        print(json.dumps(plan))
    else:
        print_plan(plan)


def _require_calibrate_alone(context: typer.Context) -> None:
    others = [
        each.opts[0] if each.opts[0].startswith("-") else each.opts[0].upper()
        for each in context.command.params
        if each.name != "calibrate" and _is_given(context, each.name)
    ]
    if others:
        raise BadInput(
            f"--calibrate takes no {' and no '.join(others)}", remedy="Leave one of them out."
        )


def _is_given(context: typer.Context, name: str | None) -> bool:
    source = context.get_parameter_source(name or "")
    return source is not None and source.name == "COMMANDLINE"


def _plan(inputs: PlanInputs, scenario: Scenario | None) -> dict[str, Any]:
    plan = as_data(inputs, estimate(inputs))
    plan["simulation"] = simulate_plan(inputs, scenario) if scenario else []
    plan["power"] = power_table(inputs.recipe)
    return plan


def _inputs(
    recipe: str,
    profile: Sequence[str],
    seed: int | None,
    settings: Sequence[str] | None,
    calibration: Path | None,
) -> PlanInputs:
    if not recipe:
        raise BadInput("no RECIPE is named", remedy="Name one, or use --calibrate STORE RUN.")
    read = read_recipe(recipe, seed, settings)
    return PlanInputs(
        recipe=read,
        profile=read_profile(*profile),
        config=model_config(read.model),
        prompts=read_prompts(read),
        figures=figures(),
        calibration=load_calibration(calibration) if calibration else None,
    )


def _numbers(gpus: str) -> list[int]:
    """Read `4,16,64`."""
    parts = [part.strip() for part in gpus.split(",")] if gpus.strip() else []
    if not all(part.isdecimal() and 1 <= int(part) <= 100_000 for part in parts):
        raise BadInput(
            f"--gpus {gpus}: not numbers from 1 to 100,000", remedy="Write --gpus 4,16,64."
        )
    return [int(part) for part in parts]
