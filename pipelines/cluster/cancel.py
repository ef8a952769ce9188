"""Cancels a run: its pods, TrainJobs and schedule; unfinished stages are kept or deleted."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput, LidrError
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.deletion import delete_all
from lidr.components.shared.store.runs import scheduled_run
from lidr.pipelines.cluster import recurring, runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.namespace import namespace_of
from lidr.pipelines.cluster.removal import delete_jobs, keep_run, remove_run
from lidr.pipelines.cluster.stuck import UNFINISHED, was_left
from lidr.pipelines.stamp import Stamp
from lidr.pipelines.stored import StoredRun, uris_under_way

TIMEOUT_SECONDS = 120.0
"""How long pods may take to end: Kubernetes gives them 30 seconds, and Argo notices later."""

_WORKFLOW_GONE = re.compile(r'workflows\.argoproj\.io "[^"]*" not found')

_NO_WORKFLOW = "its Workflow was deleted, so Kubeflow could not end it"


@dataclass
class Cancelled:
    """What was done to cancel a run.

    Attributes:
        run: its name.
        ended: ids of the Kubeflow runs that were asked to end.
        removed: ids of those that could not end, and were removed from Kubeflow.
        jobs: TrainJobs that were deleted.
        schedules: ids of the schedules that were removed.
        kept: step and URI of each unfinished stage that a later run continues from.
        discarded: step and URI of each unfinished stage that was deleted.
        notes: what could not be done.
        incomplete: whether part of the run may still be running, as the notes say; then cancel
            again.
    """

    run: str
    ended: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    schedules: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    discarded: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    incomplete: bool = False


def cancel(client: Client, profile: Profile, name: str) -> Cancelled:
    """End a run and its schedule; a second call finds nothing left to do.

    Kubeflow deletes a schedule's Workflows with it, even running ones, whose exit task then never
    runs. So a schedule is disabled, its runs are ended, and only then is it deleted.

    Raises:
        BadInput: there is no run and no schedule of that name, or ending it is not allowed.
    """
    experiment = profile.kubeflow.experiment
    found = list(runs.list_runs(client, experiment, name))
    schedules = recurring.list_schedules(client, experiment, name)
    if not found and not schedules:
        raise BadInput(
            f"no run or schedule {name!r} in experiment {experiment!r} at {client.host}",
            remedy="`lidr status` without a name lists the schedules and the newest 50 runs.",
        )
    done = Cancelled(name)
    for each in schedules:
        recurring.disable(client, each)
    known = {run.run_id for run in found}
    started = _live_of(client, experiment, {each.recurring_run_id for each in schedules})
    found += [run for run in started if run.run_id not in known]
    stuck: list[tuple[runs.Run, str]] = []
    for run in found:
        if was_left(client, run):
            stuck.append((run, UNFINISHED))
        elif run.state == "CANCELING":  # Kubeflow refuses to end it twice
            done.ended.append(run.run_id)
        elif runs.is_live(run) and not _terminate(client, run, done):
            stuck.append((run, _NO_WORKFLOW))
    failures: list[str] = []
    done.jobs = delete_jobs(profile, [run.run_id for run in found], failures)
    done.notes += failures
    done.incomplete = bool(failures)
    for run, why in stuck:
        if failures:
            keep_run(run, done.notes)
            done.ended.append(run.run_id)  # so that its stages and its schedule stay as well
        else:
            remove_run(client, run, why, done.notes)
            done.removed.append(run.run_id)
    if not wait_for_end(client, [run.run_id for run in started if run.run_id in done.ended]):
        done.notes.append(
            "its last run has not ended yet, so the schedule was only disabled: cancel again"
        )
        done.incomplete = True
        return done
    for each in schedules:
        recurring.delete(client, each)
        done.schedules.append(each.recurring_run_id)
    return done


def _terminate(client: Client, run: runs.Run, done: Cancelled) -> bool:
    """Ask a run to end; return False if it cannot end because its Workflow is gone."""
    try:
        runs.terminate(client, run)
    except LidrError as error:
        if not _WORKFLOW_GONE.search(error.message):
            raise
        return False
    done.ended.append(run.run_id)
    return True


def _live_of(client: Client, experiment: str, schedules: set[str]) -> list[runs.Run]:
    """Return the live runs that schedules have started."""
    if not schedules:
        return []
    listed = runs.list_runs(client, experiment)
    return [run for run in listed if run.recurring_run_id in schedules and runs.is_live(run)]


def clean_stages(store: Store, name: str, done: Cancelled, *, discard: bool) -> None:
    """Note which unfinished stages are left, or delete them.

    Args:
        done: gets the stages' steps and URIs.
        discard: whether to delete them, although a later run could continue from them.
    """
    stored = StoredRun.read(store, name)
    for step, (stage, keys) in (stored.unfinished() if stored else {}).items():
        if discard:
            delete_all(store, keys)
        (done.discarded if discard else done.kept)[step] = stage.uri


def names_on_store(client: Client, profile: Profile, store: Store, name: str) -> list[str]:
    """Return the names under which a run, or the live runs of a schedule, are on the store.

    Raises:
        BadInput: the run was submitted with another store.
    """
    experiment = profile.kubeflow.experiment
    listed = list(runs.list_runs(client, experiment))
    stamps = [Stamp.parse(run.description) for run in listed if run.display_name == name]
    known = [stamp for stamp in stamps if stamp]
    if known and not any(stamp.is_on(profile.store) for stamp in known):
        raise BadInput(
            f"run {name!r} is on the store {known[0].store}, not on the profile's "
            f"({profile.store})",
            remedy="Name the profile that it was submitted with.",
        )
    schedules = {
        each.recurring_run_id for each in recurring.list_schedules(client, experiment, name)
    }
    live = [run for run in listed if run.recurring_run_id in schedules and runs.is_live(run)]
    return [name, *filter(None, (scheduled_run(store, run.run_id) for run in live))]


def wait_for_jobs(profile: Profile, run_ids: Sequence[str]) -> bool:
    """Delete the TrainJobs that runs have left, and wait until all of their pods have ended.

    Returns:
        False if they take longer than `TIMEOUT_SECONDS`.
    """
    if profile.training.launcher != "trainjob" or not run_ids:
        return True
    namespace = namespace_of(profile)
    until = time.monotonic() + TIMEOUT_SECONDS
    while jobs := namespace.jobs(*run_ids):
        if time.monotonic() > until:
            return False
        for job in jobs:
            namespace.delete_job(job.name)
        time.sleep(min(2.0, TIMEOUT_SECONDS / 10))
    return True


def wait_for_end(client: Client, run_ids: Sequence[str]) -> bool:
    """Wait until runs have ended; return False if one takes longer than `TIMEOUT_SECONDS`."""
    until = time.monotonic() + TIMEOUT_SECONDS
    while any(runs.is_live(runs.read_run(client, run_id)) for run_id in run_ids):
        if time.monotonic() > until:
            return False
        time.sleep(min(2.0, TIMEOUT_SECONDS / 10))
    return True


def sharing_run(client: Client, profile: Profile, store: Store, names: Sequence[str]) -> str:
    """Return the name of another live run that may be writing the same stages; "" for none.

    Such a run has the same recipe, or makes one of the unfinished stages, too: runs of similar
    recipes (another bound, another beta) share the stages that the difference does not affect.

    Args:
        names: names on the store of the runs whose unfinished stages are to be deleted.
    """
    found = list(runs.list_runs(client, profile.kubeflow.experiment))
    recipes = {_recipe(run) for run in found if run.display_name in names}
    unfinished = {uri for name in names for uri in uris_under_way(store, name)}
    for run in found:
        if not runs.is_live(run) or run.display_name in names:
            continue
        name = scheduled_run(store, run.run_id) if run.recurring_run_id else _name_of(profile, run)
        if name in names:
            continue
        if _recipe(run) in recipes or unfinished & uris_under_way(store, name):
            return str(run.display_name)
    return ""


def _name_of(profile: Profile, run: runs.Run) -> str:
    """Return the name on the profile's store of a run that was submitted with it; else ""."""
    stamp = Stamp.parse(run.description)
    return str(run.display_name) if stamp and stamp.is_on(profile.store) else ""


def _recipe(run: runs.Run) -> str:
    stamp = Stamp.parse(run.description)
    return stamp.recipe if stamp else run.run_id
