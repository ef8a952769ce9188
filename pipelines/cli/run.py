"""lidr run: the whole loop on this machine."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.shared.config.budget import ACCOUNT
from lidr.components.shared.config.machine import MACHINE
from lidr.components.shared.config.notify import NOTIFY_URL
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.gpu import TENSOR_PARALLEL
from lidr.components.shared.inputs.prompt_files import load_prompts
from lidr.components.shared.inputs.questions import require_questions
from lidr.components.shared.kubernetes.launch import Launch
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import LOCAL_EXECUTION, run_key
from lidr.components.state.run import require_same_recipe
from lidr.pipelines.begin import begin, utc_day
from lidr.pipelines.cli.execution import execute_here
from lidr.pipelines.cli.inputs import (
    LOCAL,
    ProfileOption,
    RecipeArgument,
    RunOption,
    SeedOption,
    SetOption,
    StoreOption,
    read_profile,
    read_recipe,
    run_name,
)
from lidr.pipelines.cli.outputs import Output, OutputOption
from lidr.pipelines.cli.summary import print_summary
from lidr.pipelines.local import LocalJob
from lidr.pipelines.planning.budget import account_of

if TYPE_CHECKING:
    from lidr.components.shared.config.profile import Profile
    from lidr.components.shared.config.recipe import Recipe
    from lidr.components.shared.store.base import Store


def run_command(
    recipe: RecipeArgument,
    store: StoreOption = None,
    profile: ProfileOption = LOCAL,
    seed: SeedOption = None,
    run: RunOption = None,
    settings: SetOption = None,
    shards: Annotated[
        int | None,
        typer.Option("--shards", min=1, help="Workers that generate. Default: the profile's."),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Run the loop on this machine; running it again continues where it stopped."""
    asked = read_recipe(recipe, seed, settings)
    place = read_profile(*profile, store=store)
    if place.runner != "local":
        raise BadInput(
            f"profile {place.name!r} is for Kubeflow", remedy="Use `lidr submit` for it."
        )
    name = run_name(run, asked) if run is not None else ""
    home = open_store(place.store)
    begun = begin(asked, place, home, name, today=utc_day())
    science = begun.recipe
    account = account_of(science, place, home, begun.run)
    job = _job(science, place, home.uri, begun.run, shards or place.shards, account)
    _require_good_input(science, home, job)
    begun.say()
    execute_here(science, job, place.notify)
    _print_result(home, job.run, output)


def _job(
    recipe: Recipe, profile: Profile, store: str, run: str, shards: int, account: str
) -> LocalJob:
    parallel = profile.resources_of("generate").tensor_parallel
    named = {
        "MLFLOW_TRACKING_URI": profile.tracking_uri,
        TENSOR_PARALLEL: str(parallel or ""),
        MACHINE: profile.machine.text(),
        ACCOUNT: account,
        LOCAL_EXECUTION: uuid.uuid4().hex,
    }
    quiet = () if profile.notify else ((NOTIFY_URL, ""),)
    bound = recipe.gate.max_iterations
    return LocalJob(
        recipe=recipe.model_dump_json(),
        store=store,
        run=run,
        max_unroll=bound,
        max_iterations=bound,
        shards=shards,
        settings=(*((name, value) for name, value in named.items() if value), *quiet),
        launch=Launch.of(profile).text(),
    )


def _require_good_input(recipe: Recipe, store: Store, job: LocalJob) -> None:
    """Check store, recipe, prompts and judge questions before any process is started."""
    probe = run_key(job.run, ".probe")
    store.write(probe, b"")
    store.delete(probe)
    require_same_recipe(store, job.run, job.recipe)
    if not recipe.is_toy:
        load_prompts(recipe)
    if recipe.judge:
        require_questions(recipe.judge, recipe.languages.all)


def _print_result(store: Store, run: str, output: Output) -> None:
    text = store.read(run_key(run, "result.json")).decode()
    if output is Output.JSON:
        print(text)
        return

    print_summary(json.loads(text))
