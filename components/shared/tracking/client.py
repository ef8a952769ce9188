"""Where MLflow is: the server that the environment names, or mlflow.db in a local store.

MLflow's own variables say how to log in: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD,
MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_AUTH, and MLFLOW_TRACKING_SERVER_CERT_PATH.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

from lidr.components.shared.core.errors import BadInput, LidrError, RegistryFailed, TrackingFailed
from lidr.components.shared.core.redaction import service_login_fault
from lidr.components.shared.core.retry import retry
from lidr.components.shared.tracking.database import (
    SQLITE,
    database_file,
    database_lock,
    deleted_experiment,
    is_server,
    schema_problem,
)
from lidr.components.shared.tracking.server_errors import (
    innermost_cause,
    server_problem,
    unavailable,
)

_HTTP_DEFAULTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""By default MLflow's client retries a request for four minutes and waits two for an answer. We
retry ourselves (`ask_mlflow`), for as long as LIDR_RETRY_SECONDS allows. MLflow's client would also
repeat a request that creates something after an answer was lost, and so create it twice."""

_MAX_REFUSALS = 4

_REFUSED = re.compile(
    r"authentication failed|Access denied|does not exist|Unknown database|unable to open database"
)
"""What a database answers to a wrong login, name or file, which no further attempt changes."""

Result = TypeVar("Result")


def tracking_uri(store: str) -> str:
    """Return the MLflow tracking URI: MLFLOW_TRACKING_URI, or SQLite in a local store's folder.

    Raises:
        BadInput: the store is remote and no server is named, or the URI is no address, or holds
            a password.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        _check_address(named)
        return named
    if "://" in store:
        raise BadInput(
            "MLFLOW_TRACKING_URI is not set, and a remote store has no mlflow.db",
            remedy="Set it to your MLflow server, or to sqlite:////path/mlflow.db.",
        )
    return f"{SQLITE}{Path(store).absolute() / 'mlflow.db'}"


def _check_address(uri: str) -> None:
    """Refuse what is no address, and passwords: markers, tags and messages hold URIs."""
    if fault := service_login_fault(uri):
        raise BadInput(
            f"the address of MLflow {fault}",
            remedy="Put it into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "for a database into PGPASSWORD.",
        )
    if "://" not in uri:
        raise BadInput(
            f"{uri!r} is not an MLflow address", remedy="Use https://... or sqlite:///..."
        )


def mlflow_client(store: str) -> Any:
    """Return `client_at` the store's tracking URI, retrying while its database is unavailable."""
    uri = tracking_uri(store)
    return ask_mlflow(lambda: client_at(uri))


def client_at(uri: str) -> Any:
    """Return an `mlflow.MlflowClient` for a tracking URI; it logs errors only.

    Raises:
        BadInput: the URI is no address, holds a password, or names a database that this MLflow
            cannot use, or a SQLite file that cannot be created.
        TrackingFailed: the database is unavailable.
    """
    _check_address(uri)
    for name, value in _HTTP_DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401 - importing it sets its log level, which is changed below

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return _open(uri)
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{error.name} is needed for this database",
            file=uri,
            remedy="Install mlflow, not mlflow-skinny, or name a server."
            if error.name == "sqlalchemy"
            else "Install it, or name a driver that is installed, as in postgresql+psycopg2://...",
        ) from error


def _open(uri: str) -> Any:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    if not is_server(uri):
        from mlflow.store.db import utils

        utils.MAX_RETRY_COUNT = 1  # its ten attempts take 100 seconds; see _HTTP_DEFAULTS
    try:
        file = database_file(uri)
        with database_lock(file) if file else nullcontext():
            return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, ValueError, *database_errors(uri)) as error:
        raise open_problem(error, uri) from error


def database_errors(uri: str) -> tuple[type[Exception], ...]:
    """Return what a database raises beside MLflow's own errors; nothing for a server."""
    if is_server(uri):
        return ()
    from sqlalchemy.exc import SQLAlchemyError

    return (SQLAlchemyError,)


def open_problem(error: Exception, uri: str) -> LidrError:
    """Return the LidrError for what was raised while a server or database was opened."""
    text, file = str(error), database_file(uri)
    if problem := schema_problem(text, uri):
        return problem
    if not is_server(uri):
        from sqlalchemy.exc import DatabaseError, OperationalError

        if any(isinstance(each, OperationalError) for each in (error, error.__cause__)):
            if not _REFUSED.search(text):
                return unavailable(error, uri)
        elif file and isinstance(error, DatabaseError):
            return BadInput(
                f"cannot be used as MLflow's database: {innermost_cause(text)}",
                file=file,
                remedy="Move it away, or correct MLFLOW_TRACKING_URI.",
            )
    return BadInput(
        f"MLflow cannot use this address: {innermost_cause(text)}",
        file=uri,
        remedy="Correct MLFLOW_TRACKING_URI.",
    )


def experiment_id(client: Any, name: str, store: str) -> str:
    """Return the id of an experiment, which is created if it does not exist.

    Without a server, its artifacts go below the store.

    Raises:
        BadInput: the experiment is deleted.
    """
    from mlflow.exceptions import MlflowException

    found = find_experiment(client, name)
    if found is None:
        location = None if is_server(tracking_uri(store)) else f"{store}/mlflow"
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = find_experiment(client, name)  # another process was first
            if found is None:
                raise
    return str(found.experiment_id)


def find_experiment(client: Any, name: str) -> Any:
    """Return an experiment, or None if it does not exist.

    Raises:
        BadInput: the experiment is deleted.
    """
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        raise deleted_experiment(name, found.experiment_id)
    return found


def ask_mlflow(action: Callable[[], Result], max_refusals: int = _MAX_REFUSALS) -> Result:
    """Make a call to MLflow; retry it while the server does not answer, and after a few refusals.

    Args:
        action: the call; it must be safe to repeat.
        max_refusals: refusals of the call after which to give up; concurrent writers cause a few.

    Raises:
        BadInput: a wrong address, or the server refuses us: a wrong password, a host name it does
            not trust.
        TrackingFailed: it did not answer for LIDR_RETRY_SECONDS.
        MlflowException: it refused the call, `max_refusals` times.
        RegistryFailed: it refused the call until LIDR_RETRY_SECONDS were over, or the call raised
            this `max_refusals` times.
    """
    from mlflow.exceptions import MlflowException

    refusals = 0

    def explain(error: Exception) -> LidrError | None:
        nonlocal refusals
        problem = server_problem(error) if isinstance(error, MlflowException) else error
        if isinstance(problem, BadInput) and problem is not error:
            raise problem from error
        if isinstance(problem, TrackingFailed):
            return problem
        if not isinstance(error, MlflowException | RegistryFailed):
            return None
        refusals += 1
        return None if refusals == max_refusals else RegistryFailed(str(error))

    return retry(action, "MLflow", explain)
