"""lidr compile: write the pipeline as a file for Kubeflow."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.inputs.named import InputKind, named_inputs
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
    place = read_profile(*profile)
    begun = _begin(read_recipe(recipe, seed, settings), place)
    science = begun.recipe
    rounds = science.gate.max_iterations if max_unroll is None else max_unroll
    not_stored = _put_on_store(science, place) if place.runner == "kubeflow" else ""
    if promotion:
        text, what = compile_promotion(science, place, on_store=not not_stored), "promotion"
    else:
        text = compile_loop(
            science,
            place,
            run_name(run, science) if run else begun.name,
            rounds,
            on_store=not not_stored,
        )
        what = f"{rounds} rounds"
    if manifests:
        text = as_manifests(text, place.kubeflow.namespace or place.namespace)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"cannot be written: {error.strerror}", file=output, remedy="Choose another --output."
        ) from error
    begun.say()
    kinds = (InputKind.PROMPTS, InputKind.QUESTIONS)
    named = [each for each in named_inputs(science) if each.kind in kinds]
    local = [each.label for each in named if "://" not in each.source]
    if place.runner == "kubeflow" and local:
        print(
            f"lidr: note: {', '.join(local)} name files of this machine; `lidr fetch` brings them "
            "to where pods can read them",
            file=sys.stderr,
        )
    if not_stored:
        print(
            "lidr: note: the pipeline holds the recipe itself, for its first task to put on the "
            f"store: {not_stored}",
            file=sys.stderr,
        )
    say(f"{output}: {len(text.encode()):,} bytes, {what}, profile {place.name}")


def _begin(recipe: Recipe, profile: Profile) -> Begun:
    """Settle what a run begins with, using the store if it can be reached."""
    if profile.store.startswith("s3://"):
        with contextlib.suppress(StoreError):
            return begin(recipe, profile, S3Store(profile.store, seconds=0))
    return begin(recipe, profile)


def _put_on_store(recipe: Recipe, profile: Profile) -> str:
    """Put the recipe on the store for the tasks; return why that was not possible, or ""."""
    if not profile.store.startswith("s3://"):
        return f"{profile.store} is not a bucket"
    try:
        put_recipe(S3Store(profile.store, seconds=0), recipe.model_dump_json())
    except StoreError as error:
        return error.message
    return ""
