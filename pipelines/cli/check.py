"""lidr check: is everything there that a run needs, before money is spent?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.s3 import S3Store
from lidr.pipelines.begin import located
from lidr.pipelines.checks.capacity import capacity_findings
from lidr.pipelines.checks.cluster import PlaceFinder, cluster_findings, kubeflow_findings
from lidr.pipelines.checks.finding import CheckInputs, Finding, Place, Subject, run, unknown
from lidr.pipelines.checks.inputs import (
    machine_findings,
    model_findings,
    prompts_findings,
    sources_findings,
)
from lidr.pipelines.checks.inside.following import inside_findings
from lidr.pipelines.checks.namespace import objects_findings, rights_findings
from lidr.pipelines.checks.servers import endpoints_findings, endpoints_of, images_findings
from lidr.pipelines.checks.storage import store_findings, tracking_findings
from lidr.pipelines.cli.check_table import print_findings, print_json, waiting
from lidr.pipelines.cli.inputs import (
    NEAREST,
    ProfileOption,
    RecipeArgument,
    SetOption,
    or_nearest,
    read_profile,
    read_recipe,
)
from lidr.pipelines.cli.outputs import Output
from lidr.pipelines.cluster.api import ClusterApi

if TYPE_CHECKING:
    from lidr.components.shared.config.profile import Profile
    from lidr.components.shared.config.recipe import Recipe


def check_command(
    recipe: RecipeArgument,
    profile: ProfileOption = NEAREST,
    settings: SetOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="SUBJECT", help="Look at this subject alone; repeatable."),
    ] = None,
    in_cluster: Annotated[
        bool,
        typer.Option(
            "--in-cluster", help="Start a small pod for each kind of step, and look from inside."
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds that each subject may take.")
    ] = 60.0,
    output: Annotated[
        Output, typer.Option("--output", help="How the result is printed.")
    ] = Output.TEXT,
) -> None:
    """Look at everything that a run needs, and say what is missing and how to fix it.

    Exits with 0 where nothing is missing, else with 2. Nothing is made, but for objects on the
    store and, with --in-cluster, Jobs with a pod each, all of which are gone afterwards.
    """
    asked, place = read_recipe(recipe, None, settings), read_profile(*or_nearest(profile))
    inputs = CheckInputs(_located(asked, place), place, timeout, asked)
    if in_cluster:
        found = _from_inside(inputs, only)
    else:
        subjects = _subjects(inputs, only or ())
        with waiting(subjects):
            found = run(subjects, timeout)
    (print_json if output is Output.JSON else print_findings)(found)
    if any(each.state == "missing" for findings in found.values() for each in findings):
        raise typer.Exit(2)


def _from_inside(inputs: CheckInputs, only: Sequence[str] | None) -> dict[str, list[Finding]]:
    """Return what pods on the cluster see.

    Raises:
        BadInput: the profile is for this machine, or the Kubernetes API is not reached.
    """
    if not inputs.on_cluster or only:
        raise BadInput(
            "--in-cluster looks from a cluster's pods, at all that they need",
            remedy="Name a profile of a cluster, and no --only.",
        )
    api = ClusterApi(inputs.request_seconds)
    api.reach()
    place = PlaceFinder(inputs, api).find()
    with waiting(["pods"]):
        return inside_findings(inputs, api, place)


def _located(recipe: Recipe, profile: Profile) -> Recipe:
    """Return the recipe with its inputs in the store, where that can be looked into."""
    with contextlib.suppress(LidrError):
        if profile.store.startswith("s3://"):
            return located(recipe, S3Store(profile.store, seconds=0))
        if Path(profile.store).is_dir():
            return located(recipe, open_store(profile.store))
    return recipe


def _subjects(inputs: CheckInputs, only: Sequence[str]) -> dict[str, Subject]:
    """Return the subjects that make sense for a profile, in the order of the table.

    Args:
        inputs: what is to run.
        only: names of those that are wanted; none are all.

    Raises:
        BadInput: `only` has an unknown name.
    """
    api = ClusterApi(inputs.request_seconds)
    subjects = _of_cluster(inputs, api) if inputs.on_cluster else {}
    if not inputs.on_cluster:
        subjects["machine"] = partial(machine_findings, inputs)
    subjects |= {
        "store": partial(store_findings, inputs, api),
        "tracking": partial(tracking_findings, inputs),
        "sources": partial(sources_findings, inputs),
        "model": partial(model_findings, inputs),
        "prompts": partial(prompts_findings, inputs),
    }
    if inputs.on_cluster:
        subjects["images"] = partial(images_findings, inputs, api)
    if endpoints_of(inputs):
        subjects["endpoints"] = partial(endpoints_findings, inputs)
    if strange := [name for name in only if name not in subjects]:
        raise BadInput(
            f"--only {strange[0]}: there is no such subject for this recipe and profile",
            remedy=f"Choose from {', '.join(subjects)}.",
        )
    return {name: subject for name, subject in subjects.items() if not only or name in only}


def _of_cluster(inputs: CheckInputs, api: ClusterApi) -> dict[str, Subject]:
    place = PlaceFinder(inputs, api)

    def in_namespaces(name: str, findings: Callable[[Place], Iterator[Finding]]) -> Subject:
        """Return a subject that looks into the run's namespaces, if the API server answers."""

        def subject() -> Iterator[Finding]:
            if api.is_reached():
                yield from findings(place.find())
            else:
                yield unknown(name, "not looked at: the Kubernetes API does not answer")

        return subject

    return {
        "kubeflow": partial(kubeflow_findings, inputs, api, place),
        "cluster": partial(cluster_findings, inputs, api),
        "objects": in_namespaces("objects", partial(objects_findings, inputs, api)),
        "rights": in_namespaces("rights", partial(rights_findings, inputs, api)),
        "capacity": in_namespaces("capacity", partial(capacity_findings, inputs, api)),
    }
