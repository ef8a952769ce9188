"""Submitting a recipe to Kubeflow: one run of a name, however often it is asked for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import parse_source
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.retry import retry, unavailable
from lidr.components.shared.inputs.named import InputKind, named_inputs
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.recipes import put_recipe
from lidr.components.state.run import first_unfinished, require_going_on, require_same_recipe
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.outcome import read_outcome
from lidr.pipelines.cluster.pipelines import Package, find_version, upload
from lidr.pipelines.stamp import Stamp, description_of

SETTLING_SECONDS = 1.1
"""KFP keeps whole seconds: after one second, later runs have a later time of creation."""

Outcome = Literal["created", "resumed", "running", "done", "would create", "would resume"]


class Beginning(NamedTuple):
    """Where a submission begins.

    Attributes:
        first: the first iteration compiled in.
        resumed: whether M_0 has been measured by an earlier execution of the run.
    """

    first: int
    resumed: bool


def prepare(
    recipe: Recipe, profile: Profile, run: str, asked: int | None, *, dry: bool = False
) -> Beginning:
    """Put the recipe on the store, and find where a run goes on: a resume costs one look.

    Args:
        recipe: what to learn.
        profile: where.
        run: name of the run.
        asked: the first iteration that somebody has asked for; None for the first unfinished one.
        dry: whether nothing is written.

    Raises:
        BadInput: the run was started with another recipe, or cannot go on where it was asked to.
    """
    store = open_store(profile.store)
    text = recipe.model_dump_json()
    require_same_recipe(store, run, text)
    if not dry:
        put_recipe(store, text)
    if asked is None:
        first = first_unfinished(store, run, recipe.gate.max_iterations)
        return Beginning(max(first, 1), resumed=first > 0)
    if asked > 1:
        require_going_on(store, run, asked - 1)
    return Beginning(asked, resumed=asked > 1)


@dataclass(frozen=True)
class Submission:
    """What is submitted.

    Attributes:
        recipe: what to learn.
        profile: where.
        run: name of the run.
        text: the compiled pipeline.
        first: the first iteration compiled in; 0 where it begins with M_0.
    """

    recipe: Recipe
    profile: Profile
    run: str
    text: str
    first: int = 0

    @property
    def stamp(self) -> Stamp:
        """What the run's description says."""
        return Stamp.of(self.recipe, self.profile.store, self.first)

    @property
    def links(self) -> dict[str, str]:
        """Where its results are to be found, for the run's page in Kubeflow."""
        profile, recipe = self.profile, self.recipe
        model = recipe.registry.model_name or recipe.name
        mlflow = f"{profile.tracking_uri.rstrip('/')}/#/models/{model}"
        return {
            "report": f"{profile.store}/runs/{self.run}/report.html",
            **({"MLflow": mlflow} if profile.tracking_uri.startswith("http") else {}),
        }

    @property
    def package(self) -> Package:
        """The pipeline to upload."""
        return Package(f"lidr-{self.recipe.name}", self.text, description_of(self.recipe))


@dataclass(frozen=True)
class Submitted:
    """What became of a submission.

    Attributes:
        run: name of the run.
        run_id: Kubeflow's; "" where none was made.
        outcome: `created`, `resumed` an ended one, or found `running` or `done`.
        version: name of the pipeline version.
        link: the run in the user interface.
        note: how the run before it ended, where Kubeflow and lidr do not agree.
    """

    run: str
    run_id: str
    outcome: Outcome
    version: str
    link: str
    note: str = ""


def submit(client: Client, submission: Submission, *, dry: bool = False) -> Submitted:
    """Make a run, or find the one that there is.

    Nothing is made before everything has been checked, and a second call finds the first one's run.
    A run that failed or was cancelled is run again: its finished stages are skipped. Whether it
    failed, its tasks and the store say, whatever Kubeflow calls it.

    Args:
        client: the connection.
        submission: what to run.
        dry: only check, and say what would happen.

    Raises:
        BadInput: the run exists with another recipe or of another version of lidr, its inputs
            cannot be reached from a cluster, or Kubeflow refuses.
    """
    require_reachable(submission.recipe, submission.profile)
    _require_state(submission)
    experiment = submission.profile.kubeflow.experiment
    found = sorted(runs.list_runs(client, experiment, submission.run), key=runs.order)
    for run in found:
        require_same_stamp(run, submission)
    if live := next(filter(runs.is_live, found), None):
        return _submitted(client, submission, live.run_id, "running")
    note = ""
    if found:
        ended = read_outcome(client, found[-1], submission.profile.store, submission.run)
        note = ended.note
        if ended.state == "done" and not ended.may_go_on:
            return _submitted(client, submission, found[-1].run_id, "done", note)
    if dry:
        find_version(client, submission.package)  # shows whether it may be read
        return _submitted(client, submission, "", "would resume" if found else "would create", note)
    begun = time.monotonic()
    made = _create(client, submission)
    winner = _settle(client, submission, made, time.monotonic() - begun)
    if winner.run_id != made.run_id:
        return _submitted(client, submission, winner.run_id, "running")
    return _submitted(client, submission, made.run_id, "resumed" if found else "created", note)


def require_store(profile: Profile) -> None:
    """Refuse a store that pods could not reach.

    Raises:
        BadInput: it is on this machine, or the profile is not for Kubeflow.
    """
    if profile.runner != "kubeflow":
        raise BadInput(
            f"profile {profile.name!r} is for this machine", remedy="Use `lidr run` with it."
        )
    if "://" not in profile.store:
        raise BadInput(
            f"store {profile.store!r} is a folder of this machine, which pods cannot reach",
            remedy="Set store to s3://bucket/prefix in the profile.",
        )


def require_reachable(recipe: Recipe, profile: Profile) -> None:
    """Refuse a store and inputs that pods could not read.

    Raises:
        BadInput: one is on this machine, or the profile is not for Kubeflow.
    """
    require_store(profile)
    for each in named_inputs(recipe):
        address = parse_source(each.source).address
        if "://" not in address and each.kind in (InputKind.PROMPTS, InputKind.QUESTIONS):
            raise BadInput(
                f"{each.label} is on this machine, where pods cannot reach it",
                file=address,
                remedy="Bring it into the store with `lidr fetch`, or name an s3:// address.",
            )


def require_same_stamp(run: runs.Run, submission: Submission) -> None:
    """Refuse to go on with a run of another recipe, or of another version of lidr.

    Raises:
        BadInput: it is one, or was not submitted by lidr.
    """
    known, wanted = Stamp.parse(run.description), submission.stamp
    remedy = "Choose another --run; finished stages that still fit are used again."
    if known is None:
        raise BadInput(f"run {submission.run!r} was not submitted by lidr", remedy=remedy)
    if known.recipe != wanted.recipe:
        raise BadInput(f"run {submission.run!r} was submitted with another recipe", remedy=remedy)
    if known.store != wanted.store:
        raise BadInput(f"run {submission.run!r} has its results in {known.store}", remedy=remedy)
    if known.version != wanted.version:
        raise BadInput(
            f"run {submission.run!r} was submitted by lidr {known.version}, "
            f"this is {wanted.version}",
            remedy=f"Install lidr {known.version}, or choose another --run.",
        )


def _require_state(submission: Submission) -> None:
    """Look at the run's state in the store, which a cluster's pods will read and write."""
    store = open_store(submission.profile.store)
    require_same_recipe(store, submission.run, submission.recipe.model_dump_json())


def _create(client: Client, submission: Submission) -> Any:
    import kfp_server_api as api

    version = upload(client, submission.package)
    experiment = runs.make_experiment(client, submission.profile.kubeflow.experiment)
    body = api.V2beta1Run(
        display_name=submission.run,
        description=submission.stamp.text(submission.links),
        experiment_id=experiment,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        runtime_config=api.V2beta1RuntimeConfig(parameters={"run": submission.run}),
        service_account=submission.profile.service_account,
    )
    what = f"create run {submission.run!r}"
    return client.call(what, client.runs.run_service_create_run, body)


def _settle(client: Client, submission: Submission, made: runs.Run, took: float) -> runs.Run:
    """Return the run that stays, where others made one of the same name at the same time.

    A slow server lists another's run as late as ours, so the look waits as long as ours took.
    """
    time.sleep(max(SETTLING_SECONDS, took))
    experiment = submission.profile.kubeflow.experiment
    found = retry(
        lambda: list(runs.list_runs(client, experiment, submission.run)), "Kubeflow", unavailable
    )
    live = sorted((run for run in found if runs.is_live(run)), key=runs.order)
    if not live or live[0].run_id == made.run_id:
        return made
    runs.terminate(client, made)
    runs.delete(client, made)
    return live[0]


def _submitted(
    client: Client, of: Submission, run_id: str, outcome: Outcome, note: str = ""
) -> Submitted:
    link = client.link(f"runs/details/{run_id}") if run_id else ""
    return Submitted(of.run, run_id, outcome, of.package.version, link, note)
