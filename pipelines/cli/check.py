"""lidr check: whether everything that a run needs is there, before money is spent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated

import typer

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput, CorruptStage, DamagedObject, LidrError
from lidr.components.shared.store.open import is_missing_folder, open_store
from lidr.components.shared.store.s3 import S3Store
from lidr.pipelines.begin import located
from lidr.pipelines.checks.capacity import capacity_findings
from lidr.pipelines.checks.cluster import NamespaceFinder, cluster_findings, kubeflow_findings
from lidr.pipelines.checks.endpoints import endpoints_findings, endpoints_of
from lidr.pipelines.checks.finding import (
    CheckInputs,
    Finding,
    FoundNamespaces,
    Subject,
    absent,
    run_subjects,
    unknown,
)
from lidr.pipelines.checks.images import images_findings
from lidr.pipelines.checks.inputs import (
    machine_findings,
    model_findings,
    prompts_findings,
    sources_findings,
)
from lidr.pipelines.checks.inside.probe_runs import inside_findings
from lidr.pipelines.checks.namespace import objects_findings
from lidr.pipelines.checks.rights import rights_findings
from lidr.pipelines.checks.storage import store_findings
from lidr.pipelines.checks.tracking import tracking_findings
from lidr.pipelines.cli.check_table import print_findings, print_json, show_spinner
from lidr.pipelines.cli.inputs import (
    UNSET,
    ProfileOption,
    RecipeArgument,
    SetOption,
    or_default,
    read_profile,
    read_recipe,
)
from lidr.pipelines.cli.outputs import Output, OutputOption
from lidr.pipelines.cluster.api import ClusterApi


def check_command(
    recipe: RecipeArgument,
    profile: ProfileOption = UNSET,
    settings: SetOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="SUBJECT", help="Check only this subject; repeatable."),
    ] = None,
    in_cluster: Annotated[
        bool,
        typer.Option(
            "--in-cluster", help="Start a small pod for each kind of step, and check from inside."
        ),
    ] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds that each subject may take.")
    ] = 60.0,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check everything that a run needs, and say what is missing and how to fix it.

    Exits with 0 if nothing is missing, else with 2. Test objects on the store and, with
    --in-cluster, one Job for each kind of step are created and deleted again; nothing else is.
    """
    asked, place = read_recipe(recipe, None, settings), read_profile(*or_default(profile))
    inputs = CheckInputs(_located(asked, place), place, timeout, asked)
    if in_cluster:
        found = _from_inside(inputs, only)
    else:
        subjects = _subjects(inputs, only or ())
        with show_spinner(subjects):
            found = run_subjects(subjects, timeout)
    (print_json if output is Output.JSON else print_findings)(found)
    if any(each.state == "missing" for findings in found.values() for each in findings):
        raise typer.Exit(2)


def _from_inside(inputs: CheckInputs, only: Sequence[str] | None) -> dict[str, list[Finding]]:
    """Return what pods on the cluster see.

    Raises:
        BadInput: the profile is for this machine, `only` is given, the Kubernetes client is not
            installed, or the Kubernetes API does not answer.
    """
    if not inputs.on_cluster or only:
        raise BadInput(
            "--in-cluster checks everything that a cluster's pods need, from inside them",
            remedy="Name a profile of a cluster, and no --only.",
        )
    api = ClusterApi(inputs.request_seconds)
    try:
        api.reach()
    except ModuleNotFoundError as error:
        detail, remedy = absent(error)
        raise BadInput(f"--in-cluster: {detail}", remedy=remedy) from error
    namespaces = NamespaceFinder(inputs, api).find()
    with show_spinner(["pods"]):
        return inside_findings(inputs, api, namespaces)


def _located(recipe: Recipe, profile: Profile) -> Recipe:
    """Return the recipe with its inputs in the store, if the store can be read.

    Raises:
        CorruptStage, DamagedObject: a copy of an input there is damaged.
    """
    try:
        if profile.store.startswith("s3://"):
            return located(recipe, S3Store(profile.store, seconds=0))
        if not is_missing_folder(profile.store):
            return located(recipe, open_store(profile.store))
    except (CorruptStage, DamagedObject):  # no subject would report it
        raise
    except LidrError:  # a subject reports it
        pass
    return recipe


def _subjects(inputs: CheckInputs, only: Sequence[str]) -> dict[str, Subject]:
    """Return the subjects to check, in the order of the table.

    Args:
        inputs: what is to run.
        only: names of subjects; empty for all.

    Raises:
        BadInput: `only` has an unknown name.
    """
    api = ClusterApi(inputs.request_seconds)
    subjects = _cluster_subjects(inputs, api) if inputs.on_cluster else {}
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
    if unknown_names := [name for name in only if name not in subjects]:
        raise BadInput(
            f"--only {unknown_names[0]}: there is no such subject for this recipe and profile",
            remedy=f"Choose from {', '.join(subjects)}.",
        )
    return {name: subject for name, subject in subjects.items() if not only or name in only}


def _cluster_subjects(inputs: CheckInputs, api: ClusterApi) -> dict[str, Subject]:
    finder = NamespaceFinder(inputs, api)

    def in_namespaces(
        name: str, findings: Callable[[FoundNamespaces], Iterator[Finding]]
    ) -> Subject:
        """Return a subject that checks the run's namespaces, if the API server answers."""

        def subject() -> Iterator[Finding]:
            if api.is_reached():
                yield from findings(finder.find())
            else:
                yield unknown(name, "not checked: the Kubernetes API does not answer")

        return subject

    return {
        "kubeflow": partial(kubeflow_findings, inputs, api, finder),
        "cluster": partial(cluster_findings, inputs, api),
        "objects": in_namespaces("objects", partial(objects_findings, inputs, api)),
        "rights": in_namespaces("rights", partial(rights_findings, inputs, api)),
        "capacity": in_namespaces("capacity", partial(capacity_findings, inputs, api)),
    }
