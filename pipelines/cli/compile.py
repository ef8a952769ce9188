"""lidr compile: write the pipeline as a file for Kubeflow."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.shared.core.errors import BadInput, DamagedObject, StoreError
from lidr.components.shared.store.recipes import put_recipe
from lidr.components.shared.store.s3 import S3Store
from lidr.pipelines.begin import begin
from lidr.pipelines.cli.inputs import (
    CLUSTER,
    ProfileOption,
    RecipeArgument,
    RunOption,
    SeedOption,
    SetOption,
    note_local_inputs,
    read_profile,
    read_recipe,
    run_name,
)
from lidr.pipelines.cli.outputs import say
from lidr.pipelines.compiled import as_manifests, compile_loop, compile_promotion

if TYPE_CHECKING:
    from lidr.components.shared.config.profile import Profile
    from lidr.components.shared.config.recipe import Recipe
    from lidr.pipelines.begin import Begun


def compile_command(
    recipe: RecipeArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The YAML file to write.")],
    profile: ProfileOption = CLUSTER,
    max_unroll: Annotated[
        int | None,
        typer.Option("--max-unroll", help="Iterations compiled in. Default: gate.max_iterations."),
    ] = None,
    seed: SeedOption = None,
    settings: SetOption = None,
    run: RunOption = None,
    manifests: Annotated[
        bool,
        typer.Option("--manifests", help="Write Pipeline and PipelineVersion, for GitOps."),
    ] = False,
    promotion: Annotated[
        bool,
        typer.Option("--promotion", help="Compile `lidr promote --evaluate` instead of the loop."),
    ] = False,
) -> None:
    """Compile the loop for Kubeflow Pipelines."""
    if promotion and (run is not None or max_unroll is not None):
        raise BadInput(
            "--promotion compiles no loop, so it takes no --run and no --max-unroll",
            remedy="Leave them out.",
        )
    asked, place = read_recipe(recipe, seed, settings), read_profile(*profile)
    given = run_name(run, asked) if run is not None else ""
    store, problem = _open(place)
    begun = _begin(asked, place, store, given)
    science = begun.recipe
    rounds = science.gate.max_iterations if max_unroll is None else max_unroll
    not_stored = ""
    if place.runner == "kubeflow":
        not_stored = _put_on_store(science, store) if store else problem
    if promotion:
        text, what = compile_promotion(science, place, on_store=not not_stored), "promotion"
    else:
        text = compile_loop(
            science,
            place,
            begun.run,
            rounds,
            on_store=not not_stored,
        )
        what = f"{rounds} iteration{'s' * (rounds != 1)}"
    if manifests:
        text = as_manifests(text, place.kubeflow.namespace or place.namespace)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"cannot be written: {error.strerror}", file=output, remedy="Choose another --output."
        ) from error
    begun.say()
    if place.runner == "kubeflow":
        note_local_inputs(science)
    if not_stored:
        say(
            "lidr: note: the pipeline holds the recipe itself, for its first task to put on the "
            f"store: {not_stored}",
            error=True,
        )
    say(f"{output}: {len(text.encode()):,} bytes, {what}, profile {place.name}")


def _open(profile: Profile) -> tuple[S3Store | None, str]:
    """Return a profile's store; None, and why, if it cannot be reached from here."""
    if not profile.store.startswith("s3://"):
        return None, f"{profile.store} is not a bucket"
    try:
        return S3Store(profile.store, seconds=0), ""
    except StoreError as error:
        return None, error.message


def _begin(recipe: Recipe, profile: Profile, store: S3Store | None, run: str) -> Begun:
    """Settle what a run begins with, using the store as long as it answers."""
    with contextlib.suppress(StoreError, DamagedObject):
        return begin(recipe, profile, store, run)
    return begin(recipe, profile, run=run)


def _put_on_store(recipe: Recipe, store: S3Store) -> str:
    """Put the recipe on the store for the tasks; return why that was not possible, or ""."""
    try:
        put_recipe(store, recipe.model_dump_json())
    except (StoreError, DamagedObject) as error:
        return error.message
    return ""
