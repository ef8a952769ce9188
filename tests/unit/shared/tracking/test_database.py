"""MLflow's tables in a database: its file is made once, and its failures are one line."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils

from lidr.components.report.aliases import aliases_of
from lidr.components.shared.core.errors import BadInput, TrackingFailed
from lidr.components.shared.core.retry import RETRY_VARIABLE
from lidr.components.shared.tracking import client_at, experiment_id, mlflow_client
from lidr.components.shared.tracking.database import database_file
from tests.disks import small_disk

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    client_at(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture
def database(made, tmp_path) -> Path:
    """A copy of the test's own: MLflow looks at a database once a process."""
    return Path(shutil.copy(made, tmp_path))


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////a/mlflow.db", Path("/a/mlflow.db")),
        ("sqlite:////a/mlflow.db?timeout=60", Path("/a/mlflow.db")),
        ("sqlite:///mlflow.db", Path("mlflow.db")),
        ("postgresql://host/mlflow", None),
        ("http://host:5000", None),
    ],
)
def test_a_database_s_file(uri, file):
    assert database_file(uri) == file


def test_a_query_is_no_part_of_the_file_s_name(tmp_path, monkeypatch):
    uri = f"sqlite:///{tmp_path}/mlflow.db?timeout=60"
    assert client_at(uri).search_experiments()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert "has no registered model 'm'" in aliases_of(str(tmp_path), "m")[1]


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(database):
    store = str(database.parent)
    client = mlflow_client(store)
    identity = experiment_id(client, "lidr/x", store)
    client.delete_experiment(identity)
    with pytest.raises(BadInput, match=rf"deleted. .* restore --experiment-id {identity}"):
        experiment_id(client, "lidr/x", store)


def test_a_refused_experiment_that_nobody_else_created_is_the_refusal(tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise MlflowException("no more experiments")

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", lambda *_: None)
    monkeypatch.setattr(MlflowClient, "create_experiment", refuse)
    with pytest.raises(MlflowException, match="no more experiments"):
        experiment_id(MlflowClient("http://127.0.0.1:9"), "lidr/x", str(tmp_path))


def test_a_folder_that_cannot_hold_a_database_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be made: Not a directory"):
        client_at(f"sqlite:///{tmp_path}/file/store/mlflow.db")


def test_a_full_disk_is_one_line():
    with small_disk("256k") as disk, pytest.raises(TrackingFailed, match="disk is full"):
        client_at(f"sqlite:///{disk}/mlflow.db")


def test_a_database_on_a_read_only_disk_is_read(made):
    with small_disk("8m") as disk:
        shutil.copy(made, disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert client_at(f"sqlite:///{disk}/mlflow.db").search_experiments()
        with pytest.raises(BadInput, match="cannot be made: Read-only file system"):
            client_at(f"sqlite:///{disk}/other.db")


def test_a_locked_database_is_asked_again(database, monkeypatch):
    uri = f"sqlite:///{database}?timeout=0.1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    other = sqlite3.connect(database, check_same_thread=False)
    other.execute("begin exclusive")
    with pytest.raises(TrackingFailed, match=r"database cannot be used \(.*database is locked"):
        client_at(uri)
    monkeypatch.setenv(RETRY_VARIABLE, "60")
    released = Timer(0.5, other.close)
    released.start()
    assert mlflow_client("").search_experiments()
    released.join()


def test_a_database_is_opened_by_one_process_at_a_time(database, monkeypatch):
    """MLflow may change its tables while it is opened."""
    opened: list[str] = []

    def client(tracking_uri: str, **_: str) -> None:
        with open(f"{database}.lock") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        opened.append(tracking_uri)

    monkeypatch.setattr("mlflow.MlflowClient", client)
    client_at(f"sqlite:///{database}")
    assert opened == [f"sqlite:///{database}"]


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_database_on_a_disk_without_locks_is_read_but_not_made(database, monkeypatch, code):
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    assert client_at(f"sqlite:///{database}").search_experiments()
    with pytest.raises(BadInput, match=rf"cannot be made: {os.strerror(code)}. Use a disk with"):
        client_at(f"sqlite:///{database.parent}/other.db")


def test_a_file_that_cannot_be_opened_is_not_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(utils.time, "sleep", lambda _: pytest.fail("MLflow waits by itself"))
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(BadInput, match="unable to open database file"):
        client_at(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_database_server_that_is_down_is_named():
    pytest.importorskip("psycopg2")
    with pytest.raises(TrackingFailed, match=r"database at postgresql\S+127.0.0.1:9 cannot"):
        client_at("postgresql+psycopg2://me@127.0.0.1:9/mlflow")


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql://127.0.0.1:9/mlflow")
    found, reason = aliases_of("s3://bucket/p", "m")
    assert found == {} and "MySQLdb is needed for this database" in reason


@pytest.mark.parametrize("uri", ["postgresql+none://host/x", "http://[::1", "mysql://host:9x/x"])
def test_an_address_that_mlflow_cannot_use_is_one_line(uri):
    with pytest.raises(BadInput, match=r"cannot use this address: .+ Correct MLFLOW_"):
        client_at(uri)
