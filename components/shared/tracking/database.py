"""The SQLite file that holds MLflow's tables where no server is named."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from lidr.components.shared.core.errors import BadInput

SQLITE = "sqlite:///"


def database_file(uri: str) -> Path | None:
    """Return the file of a SQLite tracking URI, or None for others."""
    path = uri.removeprefix(SQLITE)
    return None if path == uri else Path(path.partition("?")[0])


@contextmanager
def database_lock(database: Path) -> Iterator[None]:
    """Lock out other processes while a client may create or upgrade the tables of a SQLite file.

    Two runs that share a store would both do it, and the second would fail. A file that does not
    exist is created; one on a read-only disk needs no lock.

    Raises:
        BadInput: there is no file, and its folder cannot hold one.
    """
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = database.with_name(f"{database.name}.lock").open("a")
    except OSError as error:
        if not database.exists():
            raise BadInput(
                f"MLflow's database cannot be made: {error.strerror}",
                file=database,
                remedy="Correct MLFLOW_TRACKING_URI, or the folder's permissions.",
            ) from error
        lock = None
    if lock is None:
        yield
        return
    with lock:
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
    MlflowClient(tracking_uri=f"{SQLITE}{fresh}", registry_uri=f"{SQLITE}{fresh}")
    fresh.replace(database)
