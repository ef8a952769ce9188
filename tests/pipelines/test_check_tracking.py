"""lidr check on MLflow: what a run would meet in its server or its database."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from lidr.components.shared.tracking.database import SQLITE
from lidr.pipelines.checks.finding import CheckInputs, Finding
from lidr.pipelines.checks.tracking import tracking_findings
from lidr.pipelines.cli.inputs import read_profile
from tests.fakes import make_recipe
from tests.json_server import serving

pytest.importorskip("mlflow")

OWN = "lidr/paper"
CLIENT_FOLDER = "./mlruns/0"
PROXIED = "mlflow-artifacts:/1"


class Server:
    """MLflow with the experiments that a user may see, oldest first."""

    def __init__(self) -> None:
        self.experiments: list[dict[str, str]] = []

    def add(self, name: str, location: str, stage: str = "active") -> None:
        identity = str(len(self.experiments))
        self.experiments.append(
            {
                "experiment_id": identity,
                "name": name,
                "artifact_location": location,
                "lifecycle_stage": stage,
            }
        )

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> tuple[int, Any]:
        asked = urlsplit(request.path).path.partition("/mlflow/")[2]
        if asked == "experiments/search":
            assert b"creation_time DESC" in body
            return 200, {"experiments": self.experiments[::-1][:1]}
        if asked == "registered-models/search":
            return 200, {"registered_models": []}
        own = next((each for each in self.experiments if each["name"] == OWN), None)
        if asked == "experiments/get-by-name" and own:
            return 200, {"experiment": own}
        if asked == "experiments/get":
            return 403, {"error_code": "PERMISSION_DENIED", "message": "Permission denied"}
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": request.path}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with serving(made.answer) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield made


def found() -> dict[str, Finding]:
    recipe = make_recipe(name="paper")
    inputs = CheckInputs(recipe, read_profile("local"), 60.0)
    return {each.name: each for each in tracking_findings(inputs)}


def states() -> dict[str, str]:
    return {name: each.state for name, each in found().items()}


def test_an_experiment_whose_artifacts_stay_in_a_client_s_folder_must_be_another(server: Server):
    server.add(OWN, CLIENT_FOLDER)
    artifacts = found()["MLflow artifacts"]
    assert artifacts.state == "missing"
    assert "mlflow experiments rename --experiment-id 0 --new-name" in artifacts.remedy
    assert "--artifacts-destination" in artifacts.remedy


def test_a_server_that_was_restarted_with_a_destination_is_not_refused_for_what_is_older(
    server: Server,
):
    server.add("Default", CLIENT_FOLDER)
    artifacts = found()["MLflow artifacts"]
    assert artifacts.state == "unknown"
    assert artifacts.remedy.endswith("unless this experiment is older than that setting.")
    server.add("another", PROXIED)
    artifacts = found()["MLflow artifacts"]
    assert (artifacts.state, artifacts.detail) == ("ok", PROXIED)


def test_a_user_who_may_see_no_experiment_yet_is_accepted(server: Server):
    assert states() == {"MLflow": "ok", "MLflow artifacts": "unknown", "MLflow registry": "ok"}


def test_a_deleted_experiment_is_missing_and_the_registry_is_checked(server: Server):
    server.add(OWN, PROXIED, "deleted")
    assert states() == {"MLflow": "ok", "MLflow experiment": "missing", "MLflow registry": "ok"}
    assert found()["MLflow experiment"].remedy.endswith("restore --experiment-id 0")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As much of a database of this MLflow as the check reads."""
    from mlflow.store.db import utils

    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as made:
        made.execute("create table alembic_version (version_num text)")
        made.execute(
            "insert into alembic_version values (?)", (utils._get_latest_schema_revision(),)
        )
        made.execute(
            "create table experiments (experiment_id integer, name text, lifecycle_stage text)"
        )
    made.close()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{SQLITE}{file}")
    return file


def change(file: Path, statement: str) -> None:
    with sqlite3.connect(file) as made:
        made.execute(statement)
    made.close()


def test_a_database_that_a_run_can_use_is_ok_and_left_alone(database: Path):
    before = database.read_bytes()
    assert (found()["MLflow"].state, found()["MLflow"].detail) == ("ok", str(database))
    assert database.read_bytes() == before
    assert list(database.parent.iterdir()) == [database]


def test_a_database_of_another_mlflow_is_missing(database: Path):
    change(database, "update alembic_version set version_num = 'abc'")
    mlflow = found()["MLflow"]
    assert mlflow.state == "missing" and "tables of another version (abc;" in mlflow.detail
    assert f"mlflow db upgrade {SQLITE}{database}" in mlflow.remedy


def test_a_database_whose_experiment_is_deleted_is_missing(database: Path):
    change(database, f"insert into experiments values (7, '{OWN}', 'deleted')")
    assert found()["MLflow"].remedy.endswith("restore --experiment-id 7")


def test_a_database_without_mlflow_s_tables_is_missing(database: Path):
    change(database, "drop table alembic_version")
    assert "cannot be read: no such table" in found()["MLflow"].detail


def test_a_database_needs_a_folder_that_takes_its_journal(database: Path, monkeypatch):
    def refuse(**given: Path) -> None:
        assert given == {"dir": database.parent}
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    mlflow = found()["MLflow"]
    assert mlflow.state == "missing"
    assert f"no file can be made in {database.parent} (Permission denied)" in mlflow.detail


def test_a_database_in_a_folder_that_nobody_can_make_is_missing(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{SQLITE}/proc/nowhere/mlflow.db")
    mlflow = found()["MLflow"]
    assert mlflow.state == "missing" and "cannot be made" in mlflow.detail
