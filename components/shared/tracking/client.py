"""Where MLflow is: the server the environment names, or SQLite beside the store.

MLflow's own variables say how to log in: MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD,
MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_AUTH, and MLFLOW_TRACKING_SERVER_CERT_PATH.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

from lidr.components.shared.core.errors import BadInput, LidrError, RegistryFailed, TrackingFailed
from lidr.components.shared.core.redaction import login_fault
from lidr.components.shared.core.retry import retry

_SQLITE = "sqlite:///"

_HTTP_DEFAULTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""By default MLflow's client retries a request for four minutes and waits two for an answer. We
retry ourselves (`ask_mlflow`), for as long as LIDR_RETRY_SECONDS allows."""

_MAX_REFUSALS = 4

_ANSWERED = re.compile(r"(?:too many|error code) ([45]\d\d)\b")
"""HTTP status in a client error; errors without one are about reaching the server."""

_OTHER_SCHEMA = re.compile(
    r"out-of-date database schema \(found version (\w+), but expected (\w+)\)"
)

Result = TypeVar("Result")


def tracking_uri(store: str) -> str:
    """Return the MLflow tracking URI: MLFLOW_TRACKING_URI, or SQLite in a local store's folder.

    Raises:
        BadInput: the store is remote and no server is named, or the URI holds a password.
    """
    named = os.environ.get("MLFLOW_TRACKING_URI")
    if named:
        _refuse_password(named)
        return named
    if "://" in store:
        raise BadInput(
            "MLFLOW_TRACKING_URI is not set, and a remote store has no SQLite beside it",
            remedy="Set it to your MLflow server, or to sqlite:////path/mlflow.db.",
        )
    return f"{_SQLITE}{Path(store).absolute() / 'mlflow.db'}"


def _refuse_password(uri: str) -> None:
    """Keep passwords out of what holds a URI: markers, tags and messages."""
    if fault := login_fault(uri):
        raise BadInput(
            f"the address of MLflow {fault}",
            remedy="Put it into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "for a database into PGPASSWORD.",
        )


def is_server(uri: str) -> bool:
    """Return whether a tracking URI is a server's, where others see changes at once."""
    return uri.startswith(("http://", "https://"))


def mlflow_client(store: str) -> Any:
    """Return an `mlflow.MlflowClient` for the store's tracking URI; it logs errors only."""
    return client_at(tracking_uri(store))


def client_at(uri: str) -> Any:
    """Return an `mlflow.MlflowClient` for a tracking URI; it logs errors only.

    Raises:
        BadInput: the URI holds a password, or names a database that this MLflow cannot use.
    """
    _refuse_password(uri)
    for name, value in _HTTP_DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401 - importing it sets its log level, which is changed below

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with _database_lock(uri):
        return _open(uri)


def _open(uri: str) -> Any:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    failures: tuple[type[Exception], ...] = (MlflowException,)
    if not is_server(uri):
        from sqlalchemy.exc import SQLAlchemyError

        failures = (MlflowException, SQLAlchemyError)
    try:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except failures as error:
        place = uri.removeprefix(_SQLITE)
        if found := _OTHER_SCHEMA.search(str(error)):
            raise BadInput(
                f"MLflow's database has the tables of another version ({found[1]}; this MLflow "
                f"needs {found[2]})",
                file=place,
                remedy=f"Back it up, then run: mlflow db upgrade {uri}",
            ) from error
        raise BadInput(
            f"cannot be used as MLflow's database: {_cause(str(error))}",
            file=place,
            remedy="Move it away, or correct MLFLOW_TRACKING_URI.",
        ) from error


@contextmanager
def _database_lock(uri: str) -> Iterator[None]:
    """Lock out other processes while a client may create the tables of a SQLite database.

    Two runs that share a new store would both create them, and the second would fail.
    """
    if not uri.startswith(_SQLITE):
        yield
        return
    database = Path(uri.removeprefix(_SQLITE))
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists():
            _make_tables(database)
        yield


def _make_tables(database: Path) -> None:
    """Create MLflow's tables in a file beside the database, then rename it.

    A process killed while creating them in place would leave a database that MLflow always refuses.
    """
    from mlflow import MlflowClient

    for part in database.parent.glob(f"{database.name}.new-*"):
        part.unlink()
    fresh = database.with_name(f"{database.name}.new-{uuid4().hex}")
    MlflowClient(tracking_uri=f"{_SQLITE}{fresh}", registry_uri=f"{_SQLITE}{fresh}")
    fresh.replace(database)


def experiment_id(client: Any, name: str, store: str) -> str:
    """Return the id of an experiment, which is created if it does not exist.

    With SQLite, its artifacts go into the store's folder.
    """
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    location = f"{store}/mlflow" if tracking_uri(store).startswith(_SQLITE) else None
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:  # another process was first
        return str(client.get_experiment_by_name(name).experiment_id)


def ask_mlflow(action: Callable[[], Result], max_refusals: int = _MAX_REFUSALS) -> Result:
    """Make a call to MLflow, retrying while the server does not answer.

    Args:
        action: the call; it must be safe to repeat.
        max_refusals: refusals of the call after which to give up; concurrent writers cause a few.

    Raises:
        BadInput: the server refuses us: a wrong password, a host name it does not trust.
        TrackingFailed: it did not answer for LIDR_RETRY_SECONDS.
        MlflowException: it refused the call, `max_refusals` times.
        RegistryFailed: it did so until LIDR_RETRY_SECONDS were over.
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


def server_problem(error: Any, uri: str = "") -> LidrError | None:
    """Return the LidrError for an MlflowException that concerns the server as a whole.

    BadInput if the server does not let us in, TrackingFailed if it does not answer or cannot work;
    None if it refused only this request. The server's `uri` is by default the environment's, or the
    SQLite beside the store.
    """
    status, text = error.get_http_status_code(), str(error)
    place = urlsplit(uri or os.environ.get("MLFLOW_TRACKING_URI") or _SQLITE)
    where = f"MLflow at {place.scheme}://{_host(place)}" if place.hostname else "MLflow"
    if status == 401:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME")
        return BadInput(
            f"{where} refuses {f'the password of {user!r}' if user else 'an unnamed user'}",
            remedy="Correct MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, "
            "or MLFLOW_TRACKING_TOKEN.",
        )
    if status == 403 and "Invalid Host header" in text:
        return BadInput(
            f"{where} does not trust the host name {place.netloc!r}",
            remedy="Add it, with its port, to the server's MLFLOW_SERVER_ALLOWED_HOSTS.",
        )
    if status == 403:
        user = os.environ.get("MLFLOW_TRACKING_USERNAME", "this user")
        return BadInput(
            f"{where} does not let {user!r} write here, or what it asked for is gone",
            remedy="Give the user EDIT or MANAGE permission on the experiment and the model.",
        )
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return BadInput(
            f"{where} shows a certificate that is not trusted",
            remedy="Set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of its certificate authority.",
        )
    if status < 500 and status != 429:
        return None
    return _unavailable(error, where, served=place.scheme in ("http", "https"))


def _host(place: SplitResult) -> str:
    return f"{place.hostname}:{place.port}" if place.port else str(place.hostname)


def _unavailable(error: Any, where: str, *, served: bool) -> TrackingFailed:
    from mlflow.exceptions import RestException

    text = str(error)
    if not served:
        return TrackingFailed(
            f"MLflow's database cannot be used ({_cause(text)})",
            remedy="Check the file, its disk, and what else uses it; then run the same command "
            "again.",
        )
    answered = _ANSWERED.search(text)
    if answered or isinstance(error, RestException):
        said = f"HTTP {answered[1]}" if answered else _cause(text)
        return TrackingFailed(
            f"{where} is up, but cannot do its work ({said})",
            remedy="Look at its log and at its database, then run the same command again.",
        )
    return TrackingFailed(
        f"{where} does not answer ({_cause(text)})",
        remedy="Check that the server is running and reachable, then run the same command again.",
    )


def _cause(text: str) -> str:
    """Return the last, innermost part of a chain of network errors, in one line."""
    line = " ".join(text.split())
    return line.rsplit("(Caused by ", 1)[-1].rstrip(")")[:200]
