"""Where MLflow is: the server the environment names, or SQLite beside the store."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.shared.errors import BadInput

_SQLITE = "sqlite:///"


def tracking_uri(store: str) -> str:
    """Return the MLflow tracking URI: MLFLOW_TRACKING_URI, or SQLite in a local store's folder.

    Args:
        store: URI of the store.

    Raises:
        BadInput: the store is remote and no server is named.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        return named
    if "://" in store:
        raise BadInput(
            "MLFLOW_TRACKING_URI is not set, and a remote store has no SQLite beside it",
            remedy="Set it to your MLflow server, or to sqlite:////path/mlflow.db.",
        )
    return f"{_SQLITE}{Path(store).absolute() / 'mlflow.db'}"


def mlflow_client(store: str) -> Any:
    """Return an `mlflow.MlflowClient` for the store's tracking server, its chatter off."""
    return client_at(tracking_uri(store))


def client_at(uri: str) -> Any:
    """Return an `mlflow.MlflowClient` for a tracking URI, its chatter off."""
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):  # importing mlflow sets its own level
        logging.getLogger(name).setLevel(logging.ERROR)
    with _alone(uri):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Keep other processes out while a client may make the tables of a SQLite database.

    Two runs that share a new store would both make them, and the second would fail.
    """
    if not uri.startswith(_SQLITE):
        yield
        return
    database = Path(uri.removeprefix(_SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def experiment_id(client: Any, name: str, store: str) -> str:
    """Return the id of an experiment, made now if it does not exist.

    Args:
        client: from `mlflow_client`.
        name: the experiment's name.
        store: artifacts of a local tracking database go into its folder, beside the database.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = str(Path(store) / "mlflow") if tracking_uri(store).startswith(_SQLITE) else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:  # another process was first
        return str(client.get_experiment_by_name(name).experiment_id)
