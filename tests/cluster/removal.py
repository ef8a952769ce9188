"""Removing what a test has made: runs, schedules, pipeline versions, stages, versions of models."""

from __future__ import annotations

import contextlib
from typing import Any

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.store.open import open_store
from lidr.pipelines.cluster import runs
from lidr.pipelines.cluster.client import Client


def remove_runs(profile: Any, since: float) -> None:
    """Delete the experiment's runs and schedules, and the pipeline versions made since then."""
    client = Client(profile)
    experiment = runs.experiment_id(client, profile.kubeflow.experiment)
    if experiment is None:
        return
    for run in list(runs.list_runs(client, profile.kubeflow.experiment)):
        with contextlib.suppress(LidrError):
            if runs.is_live(run):
                runs.terminate(client, run)
            runs.delete(client, run)
    listed = client.list_all(
        "list schedules",
        "recurring_runs",
        client.recurring.recurring_run_service_list_recurring_runs,
        experiment_id=experiment,
    )
    for each in list(listed):
        with contextlib.suppress(LidrError):
            client.call(
                "delete a schedule",
                client.recurring.recurring_run_service_delete_recurring_run,
                each.recurring_run_id,
            )
    _remove_versions(client, since)
    client.call(
        "delete the experiment",
        client.experiments.experiment_service_delete_experiment,
        experiment,
    )


def _remove_versions(client: Client, since: float) -> None:
    named = {"namespace": client.namespace} if client.namespace else {}
    pipelines = client.list_all(
        "list pipelines",
        "pipelines",
        client.pipelines.pipeline_service_list_pipelines,
        **named,
    )
    for pipeline in [each for each in pipelines if (each.display_name or "").startswith("lidr-")]:
        versions = client.list_all(
            "list versions",
            "pipeline_versions",
            client.pipelines.pipeline_service_list_pipeline_versions,
            pipeline.pipeline_id,
        )
        for version in list(versions):
            if version.created_at.timestamp() >= since:
                client.call(
                    "delete a version",
                    client.pipelines.pipeline_service_delete_pipeline_version,
                    pipeline.pipeline_id,
                    version.pipeline_version_id,
                )


def remove_store(uri: str) -> None:
    """Delete every object of the test's part of the store."""
    store = open_store(uri)
    for entry in store.list(""):
        store.delete(entry.key)
