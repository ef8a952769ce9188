"""The SQLite file that holds MLflow's tables where no server is named."""

from __future__ import annotations

import fcntl
from pathlib import Path
from uuid import uuid4

from lidr.components.shared.store.base import wrap_os_errors

SQLITE = "sqlite:///"


def database_file(uri: str) -> Path | None:
    """Return the file of a SQLite tracking URI, or None for others."""
    path = uri.removeprefix(SQLITE)
    return None if path == uri else Path(path.partition("?")[0])


def make_database(database: Path) -> None:
    """Create a SQLite database if it does not exist, locking out other processes.

    Two runs that share a new store would both create the tables, and the second would fail.
    """
    with wrap_os_errors(database.parent):
        if database.exists():
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        with database.with_name(f"{database.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not database.exists():
                _make_tables(database)


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
