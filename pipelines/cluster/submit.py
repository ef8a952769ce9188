"""Submitting a recipe to Kubeflow: repeated submissions under one name find the same run."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import on_this_machine, parse_source
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.retry import retry, unavailable
from lidr.components.shared.inputs.named import InputKind, named_inputs
from lidr.components.shared.store.open import local_folder, open_store
from lidr.components.shared.store.recipes import put_recipe
from lidr.components.state.run import first_unfinished, require_not_stopped, require_same_recipe
from lidr.pipelines.begin import with_pinned_as_given
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.outcome import read_outcome
from lidr.pipelines.cluster.pipelines import Package, find_version, upload
from lidr.pipelines.cluster.removal import remove_unfinished
from lidr.pipelines.cluster.stuck import was_left
from lidr.pipelines.stamp import Stamp, description_of

SETTLING_SECONDS = 1.1
"""KFP stores whole seconds: runs created more than one second apart can be ordered."""

SubmitOutcome = Literal["created", "resumed", "running", "done", "would create", "would resume"]


class StartPoint(NamedTuple):
    """The iteration at which a submission starts.

    Attributes:
        first: the first iteration compiled in.
        resumed: whether M_0 has been evaluated by an earlier execution of the run.
    """

    first: int
    resumed: bool


def prepare_start(
    recipe: Recipe, profile: Profile, run: str, asked: int | None, *, dry: bool = False
) -> StartPoint:
    """Put the recipe on the store, and find the iteration at which a run starts or resumes.

    Args:
        recipe: what to learn.
        profile: where to run.
        run: name of the run.
        asked: the first iteration to run; None for the first unfinished one.
        dry: whether to write nothing.

    Raises:
        BadInput: the run was started with another recipe, or cannot continue at `asked`.
    """
    store = open_store(profile.store)
    text = recipe.model_dump_json()
    require_same_recipe(store, run, text)
    if not dry:
        put_recipe(store, text)
    if asked is None:
        first = first_unfinished(store, run, recipe.gate.max_iterations)
        return StartPoint(max(first, 1), resumed=first > 0)
    if asked > 1:
        require_not_stopped(store, run, asked - 1)
    return StartPoint(asked, resumed=asked > 1)


@dataclass(frozen=True)
class Submission:
    """What is submitted.

    Attributes:
        recipe: what to learn.
        profile: where to run.
        run: name of the run.
        text: the compiled pipeline.
        first: the first iteration compiled in; 0 if it begins with M_0.
        given: the recipe with its sources as given; None if that is `recipe` itself.
    """

    recipe: Recipe
    profile: Profile
    run: str
    text: str
    first: int = 0
    given: Recipe | None = None

    @property
    def stamp(self) -> Stamp:
        """The stamp in the run's description, the same before and after `lidr fetch`."""
        return self._stamp_of(with_pinned_as_given(self.recipe, self.given or self.recipe))

    def is_stamped(self, recipe: str) -> bool:
        """Return whether a stamp's recipe is this one, wherever its inputs were copied to.

        A run may have been submitted before its local inputs were copied, or by a version of lidr
        that stamped the addresses of all copies.
        """
        known = (self.stamp, *map(self._stamp_of, (self.given or self.recipe, self.recipe)))
        return recipe in {each.recipe for each in known}

    def _stamp_of(self, recipe: Recipe) -> Stamp:
        return Stamp.of(recipe, self.profile.store, self.first)

    @property
    def links(self) -> dict[str, str]:
        """Addresses of its results, for the run's page in Kubeflow."""
        report = f"{self.profile.store}/runs/{self.run}/report.html"
        return {"report": report, **runs.mlflow_link(self.profile, self.recipe)}

    @property
    def package(self) -> Package:
        """The pipeline to upload."""
        return Package(f"lidr-{self.recipe.name}", self.text, description_of(self.recipe))


@dataclass(frozen=True)
class Submitted:
    """What became of a submission.

    Attributes:
        run: name of the run.
        run_id: Kubeflow's id of the run; "" if none was created.
        outcome: `created`, `resumed` after an ended one, or found `running` or `done`; if only
            checked, `would create` or `would resume`.
        version: name of the pipeline version.
        link: the run in the user interface.
        note: how the run before it ended, if Kubeflow and lidr disagree, and what was removed.
    """

    run: str
    run_id: str
    outcome: SubmitOutcome
    version: str
    link: str
    note: str = ""


def submit(client: Client, submission: Submission, *, dry: bool = False) -> Submitted:
    """Create a run, or find the existing one.

    Everything is checked before anything is created, and a second call finds the first one's run.
    A run that failed or was cancelled is run again, and its finished stages are skipped. Its tasks
    and the store decide whether it failed, whatever Kubeflow calls it.

    Args:
        submission: what to run.
        dry: only check, and say what would happen.

    Raises:
        BadInput: the run exists with another recipe or of another version of lidr, its store,
            prompts or questions are on this machine, or Kubeflow refuses.
    """
    require_reachable(submission.recipe, submission.profile)
    store = open_store(submission.profile.store)
    require_same_recipe(store, submission.run, submission.recipe.model_dump_json())
    experiment = submission.profile.kubeflow.experiment
    found = sorted(runs.list_runs(client, experiment, submission.run), key=runs.order)
    for run in found:
        require_same_stamp(run, submission)
    stuck = [run for run in found if was_left(client, run)]
    stuck_ids = {run.run_id for run in stuck}
    if live := _live(found, stuck_ids):
        return _submitted(client, submission, live[0].run_id, "running")
    note = ""
    if found:
        ended = read_outcome(client, found[-1], submission.profile.store, submission.run)
        note = ended.note
        if ended.state == "done" and not ended.budget_stopped:
            return _submitted(client, submission, found[-1].run_id, "done", note)
    if dry:
        find_version(client, submission.package)  # raises if pipelines may not be read
        return _submitted(client, submission, "", "would resume" if found else "would create", note)
    if stuck:  # else `lidr cancel` would be needed, which would end the new run as well
        before = "" if found[-1].run_id in stuck_ids else note
        notes = remove_unfinished(client, submission.profile, stuck)
        note = "; ".join(filter(None, (before, *notes)))
    begun = time.monotonic()
    made = _create(client, submission)
    winner = _settle(client, submission, made, time.monotonic() - begun, stuck_ids)
    if winner.run_id != made.run_id:
        return _submitted(client, submission, winner.run_id, "running", note)
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
    if local_folder(profile.store):
        raise BadInput(
            f"store {profile.store!r} is a folder of this machine, which pods cannot reach",
            remedy="Set store to s3://bucket/prefix in the profile.",
        )


def require_reachable(recipe: Recipe, profile: Profile) -> None:
    """Refuse a store, prompts and questions that pods could not read.

    A model and evaluation items on this machine pass: pods may have them in an image or a volume.

    Raises:
        BadInput: one is on this machine, or the profile is not for Kubeflow.
    """
    require_store(profile)
    for each in named_inputs(recipe):
        if on_this_machine(each.source) and each.kind in (InputKind.PROMPTS, InputKind.QUESTIONS):
            raise BadInput(
                f"{each.label} is on this machine, where pods cannot reach it",
                file=parse_source(each.source).address,
                remedy="Bring it into the store with `lidr fetch`, or name an s3:// address.",
            )


def require_same_stamp(run: runs.Run, submission: Submission) -> None:
    """Refuse to continue a run of another recipe, store or version of lidr.

    Raises:
        BadInput: the run is of another one, or was not submitted by lidr.
    """
    known, wanted = Stamp.parse(run.description), submission.stamp
    remedy = "Choose another --run; finished stages that still fit are reused."
    if known is None:
        raise BadInput(f"run {submission.run!r} was not submitted by lidr", remedy=remedy)
    if not submission.is_stamped(known.recipe):
        raise BadInput(f"run {submission.run!r} was submitted with another recipe", remedy=remedy)
    if known.store != wanted.store:
        raise BadInput(f"run {submission.run!r} has its results in {known.store}", remedy=remedy)
    if known.version != wanted.version:
        raise BadInput(
            f"run {submission.run!r} was submitted by lidr {known.version}, "
            f"this is {wanted.version}",
            remedy=f"Install lidr {known.version}, or choose another --run.",
        )


def upload_for_run(client: Client, submission: Submission, package: Package) -> dict[str, Any]:
    """Upload a pipeline, and return the fields that a run and a schedule of it share."""
    import kfp_server_api as api

    version = upload(client, package)
    return {
        "display_name": submission.run,
        "experiment_id": runs.make_experiment(client, submission.profile.kubeflow.experiment),
        "pipeline_version_reference": api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        ),
        "runtime_config": api.V2beta1RuntimeConfig(parameters={"run": submission.run}),
        "service_account": submission.profile.service_account,
    }


def _create(client: Client, submission: Submission) -> Any:
    from kfp_server_api import V2beta1Run

    fields = upload_for_run(client, submission, submission.package)
    body = V2beta1Run(**fields, description=submission.stamp.text(submission.links))
    what = f"create run {submission.run!r}"
    return client.call(what, client.runs.run_service_create_run, body)


def _settle(
    client: Client, submission: Submission, made: runs.Run, took: float, stuck_ids: set[str]
) -> runs.Run:
    """Return the run that stays if several clients created one of the same name at once.

    If that is not `made`, `made` is removed. A slow server lists another client's run as late as
    ours, so this first waits as long as creating ours took.
    """
    time.sleep(max(SETTLING_SECONDS, took))
    experiment = submission.profile.kubeflow.experiment
    found = retry(
        lambda: list(runs.list_runs(client, experiment, submission.run)), "Kubeflow", unavailable
    )
    live = _live(found, stuck_ids)
    if not live or live[0].run_id == made.run_id:
        return made
    runs.terminate(client, made)
    runs.delete(client, made)
    return live[0]


def _live(found: Iterable[runs.Run], stuck_ids: set[str]) -> list[runs.Run]:
    """Return the live runs, the one that stays first; stuck ones do not count."""
    live = (run for run in found if runs.is_live(run) and run.run_id not in stuck_ids)
    return sorted(live, key=runs.order)


def _submitted(
    client: Client, of: Submission, run_id: str, outcome: SubmitOutcome, note: str = ""
) -> Submitted:
    link = client.link(f"runs/details/{run_id}") if run_id else ""
    return Submitted(of.run, run_id, outcome, of.package.version, link, note)
