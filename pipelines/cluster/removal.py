"""Removing what Kubeflow leaves behind: runs that it cannot end, and their TrainJobs."""

from __future__ import annotations

from collections.abc import Sequence

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client
from lidr.pipelines.cluster.namespace import namespace_of
from lidr.pipelines.cluster.stuck import UNFINISHED


def delete_jobs(profile: Profile, run_ids: Sequence[str], notes: list[str]) -> list[str]:
    """Delete the runs' TrainJobs, which a killed launcher leaves behind; return their names.

    What could not be done is added to `notes`.
    """
    if profile.training.launcher != "trainjob" or not run_ids:
        return []
    deleted: list[str] = []
    try:
        namespace = namespace_of(profile)
        jobs = namespace.jobs(*run_ids)
        # Jobs deleted before a failure stay in the list.
        deleted.extend(job.name for job in jobs if namespace.delete_job(job.name))
    except BadInput as error:
        notes.append(f"TrainJobs may be left: {error.message}")
    return deleted


def remove_run(client: Client, run: runs.Run, why: str, notes: list[str]) -> None:
    """Remove a run from Kubeflow, and say so in `notes`."""
    runs.delete(client, run)
    notes.append(f"run {run.run_id} was removed from Kubeflow: {why}")


def keep_run(run: runs.Run, notes: list[str]) -> None:
    """Say in `notes` that a run stays: its TrainJobs are found only while Kubeflow lists it."""
    notes.append(f"run {run.run_id} stays in Kubeflow until its TrainJobs are deleted")


def remove_unfinished(client: Client, profile: Profile, stuck: Sequence[runs.Run]) -> list[str]:
    """Remove runs that Argo has left unfinished, with their TrainJobs; return notes about it.

    A run that may not be removed stays, and a note names it. All stay if TrainJobs may be left.
    """
    notes: list[str] = []
    delete_jobs(profile, [run.run_id for run in stuck], notes)
    if notes:
        for run in stuck:
            keep_run(run, notes)
        return notes
    for run in stuck:
        try:
            remove_run(client, run, UNFINISHED, notes)
        except BadInput as error:
            notes.append(f"Argo has left run {run.run_id} unfinished: {error.message}")
    return notes
