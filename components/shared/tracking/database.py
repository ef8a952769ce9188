"""MLflow's tables in a database: in a SQLite file where no server is named."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from lidr.components.shared.core.errors import BadInput

SQLITE = "sqlite:///"

_OTHER_SCHEMA = re.compile(
    r"out-of-date database schema \(found version (\w+), but expected (\w+)\)"
)

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What a disk without file locks answers, e.g. some NFS and FUSE mounts."""


def is_server(uri: str) -> bool:
    """Return whether a tracking URI is a server's."""
    return uri.startswith(("http://", "https://"))


def database_file(uri: str) -> Path | None:
    """Return the file of a SQLite tracking URI, or None for others."""
    path = uri.removeprefix(SQLITE)
    return None if path == uri else Path(path.partition("?")[0])


def schema_problem(text: str, uri: str) -> BadInput | None:
    """Return the error for a database with another MLflow's tables, or None.

    Args:
        text: what MLflow says when it opens the database.
        uri: of the database.
    """
    found = _OTHER_SCHEMA.search(text)
    return _other_version(found[1], found[2], uri) if found else None


def _other_version(found: str, needed: str, uri: str) -> BadInput:
    return BadInput(
        f"MLflow's database has the tables of another version ({found}; this MLflow "
        f"needs {needed})",
        file=database_file(uri) or uri,
        remedy="If a newer MLflow made it, install that one; if an older one did, back it up, then "
        f"run: mlflow db upgrade {uri}",
    )


def deleted_experiment(name: str, identity: object) -> BadInput:
    """Return the error for a run whose experiment is deleted."""
    return BadInput(
        f"experiment {name!r} of MLflow is deleted",
        remedy=f"Restore it: mlflow experiments restore --experiment-id {identity}",
    )


def check_database(file: Path, experiment: str) -> None:
    """Refuse a SQLite file that a run could not use as MLflow's database; it is not changed.

    Args:
        file: the database, which may not exist yet.
        experiment: the run's.

    Raises:
        BadInput: it cannot be made, read or written, or has the tables of another version of
            MLflow, or the experiment is deleted.
    """
    _check_folder(file)
    if not file.exists():
        return
    try:
        read_only = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(read_only, uri=True)) as database:
            _check_tables(database, file)
            query = "select experiment_id from experiments where lifecycle_stage = 'deleted'"
            deleted = database.execute(f"{query} and name = ?", (experiment,)).fetchone()
    except sqlite3.Error as error:
        raise BadInput(
            f"cannot be read: {error}", file=file, remedy="Move it away, or fix it."
        ) from error
    if deleted:
        raise deleted_experiment(experiment, deleted[0])
    if not os.access(file, os.W_OK):
        raise BadInput("may not be written", file=file, remedy=f"chmod u+w {file}")


def _check_folder(file: Path) -> None:
    """Refuse a database beside which no file can be made: SQLite keeps its journal there."""
    folder = next(each for each in file.absolute().parents if each.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(
            f"cannot be {'written' if file.exists() else 'made'}: no file can be made in {folder} "
            f"({error.strerror})",
            file=file,
            remedy="Correct MLFLOW_TRACKING_URI, or the folder's permissions.",
        ) from error


def _check_tables(database: sqlite3.Connection, file: Path) -> None:
    from mlflow.store.db import utils

    row = database.execute("select version_num from alembic_version").fetchone()
    found, needed = str(row[0] if row else None), str(utils._get_latest_schema_revision())
    if found != needed:
        raise _other_version(found, needed, f"{SQLITE}{file}")


@contextmanager
def database_lock(database: Path) -> Iterator[None]:
    """Lock out other processes while a client may create or upgrade the tables of a SQLite file.

    Two runs that share a store would both do it, and the second would fail. A file that does not
    exist is created; if the lock cannot be taken, an existing one is used without it.

    Raises:
        BadInput: there is no file, and its folder cannot hold one, or is on a disk without locks.
    """
    with _open_lock(database) or nullcontext():
        if not database.exists():
            _make_tables(database)
        yield


def _open_lock(database: Path) -> TextIO | None:
    """Return the locked file beside the database; None if the database must do without."""
    lock = None
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        lock = database.with_name(f"{database.name}.lock").open("a")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if lock:
            lock.close()
        if not database.exists():
            raise BadInput(
                f"MLflow's database cannot be made: {error.strerror}",
                file=database,
                remedy="Use a disk with file locks, or a server."
                if error.errno in _NO_LOCKS
                else "Correct MLFLOW_TRACKING_URI, or the folder's permissions.",
            ) from error
        return None
    return lock


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
