"""Runs in Kubeflow, by their names in lidr.

KFP lets any number of runs have the same name. lidr keeps at most one of them live: after
creating a run, a client lists the runs of its name again; if several are live, the first one stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.tracking.database import is_server
from lidr.pipelines.cluster.client import LIVE, Client, create_or_find, name_filter
from lidr.pipelines.stamp import Stamp

Run = Any
"""`kfp_server_api.V2beta1Run`."""


def experiment_id(client: Client, name: str) -> str | None:
    """Return the id of an experiment, or None if there is none."""
    listed = client.list_all(
        f"list experiments for {name!r}",
        "experiments",
        client.experiments.experiment_service_list_experiments,
        filter=name_filter(name),
        **client.in_namespace,
    )
    found = next(listed, None)
    return None if found is None else str(found.experiment_id)


def mlflow_link(profile: Profile, recipe: Recipe) -> dict[str, str]:
    """Return the address of the registered model's page under "MLflow"; {} without a server."""
    if not is_server(profile.tracking_uri):
        return {}
    uri = profile.tracking_uri.rstrip("/")
    return {"MLflow": f"{uri}/#/models/{quote(recipe.registered_model, safe='')}"}


def make_experiment(client: Client, name: str) -> str:
    """Return the id of an experiment, which is created if there is none."""
    from kfp_server_api import V2beta1Experiment

    if found := experiment_id(client, name):
        return found
    body = V2beta1Experiment(display_name=name, namespace=client.namespace or None)

    def create() -> str:
        made = client.call(
            f"create experiment {name!r}",
            client.experiments.experiment_service_create_experiment,
            body,
        )
        return str(made.experiment_id)

    return create_or_find(create, lambda: experiment_id(client, name))


def list_runs(client: Client, experiment: str, name: str = "") -> Iterator[Run]:
    """Yield an experiment's runs, the newest first.

    Args:
        experiment: its name.
        name: only runs of this name; "" for all.
    """
    identity = experiment_id(client, experiment)
    if identity is None:
        return
    yield from client.list_all(
        f"list the runs of experiment {experiment!r}",
        "runs",
        client.runs.run_service_list_runs,
        experiment_id=identity,
        sort_by="created_at desc",
        **({"filter": name_filter(name)} if name else {}),
        **client.in_namespace,
    )


def newest_run(client: Client, experiment: str, name: str) -> Run:
    """Return the newest run of a name, with its tasks.

    Raises:
        BadInput: there is none.
    """
    found = next(list_runs(client, experiment, name), None)
    if found is None:
        raise BadInput(
            f"no run {name!r} in experiment {experiment!r} at {client.host}",
            remedy="`lidr status` without a name lists the newest 50.",
        )
    return read_run(client, found.run_id)


def read_run(client: Client, run_id: str) -> Run:
    """Return a run with its tasks."""
    return client.call(f"read run {run_id}", client.runs.run_service_get_run, run_id)


def is_live(run: Run) -> bool:
    """Return whether a run has not ended."""
    return run.state is None or run.state in LIVE


def first_iteration(run: Run) -> int:
    """Return the first iteration that a run's pipeline holds; 0 if it begins with M_0."""
    stamp = Stamp.parse(run.description)
    return stamp.first if stamp else 0


def order(run: Run) -> tuple[float, str]:
    """Sort key: the first of several runs of a name is the one that stays."""
    return creation_key(run.created_at, run.run_id)


def creation_key(created: datetime | None, identity: str | None) -> tuple[float, str]:
    """Sort key, the oldest first; an argument is None if the server omits it."""
    return epoch_seconds(created), identity or ""


def epoch_seconds(moment: Any) -> float:
    """Return a time of Kubeflow's in seconds since 1970; 0 if Kubeflow gives none."""
    if not isinstance(moment, datetime):
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def terminate(client: Client, run: Run) -> None:
    """Ask a run to end."""
    client.call(
        f"terminate run {run.display_name}", client.runs.run_service_terminate_run, run.run_id
    )


def delete(client: Client, run: Run) -> None:
    """Remove a run from Kubeflow's records, if it is still there."""
    client.call_or_none(
        f"delete run {run.display_name}", client.runs.run_service_delete_run, run.run_id
    )
