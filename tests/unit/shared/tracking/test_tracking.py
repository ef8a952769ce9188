from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess

import pytest

from lidr.components.report.aliases import aliases_of
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.tracking import mlflow_client, tracking_uri
from lidr.pipelines.cli import app
from tests.tracked import SmallRun
from tests.warm import python


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_a_named_server_comes_first(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert tracking_uri("s3://bucket/p") == tracking_uri("/store") == "http://mlflow:5000"


def test_a_local_store_has_its_own_database(tmp_path, monkeypatch):
    assert tracking_uri(str(tmp_path)) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.chdir(tmp_path)
    assert tracking_uri("here") == f"sqlite:///{tmp_path}/here/mlflow.db"


def test_a_remote_store_needs_a_server():
    with pytest.raises(BadInput, match=r"MLFLOW_TRACKING_URI is not set.*sqlite:////") as caught:
        tracking_uri("s3://bucket/p")
    assert caught.value.exit_code == 2


@pytest.mark.slow
def test_a_kill_while_tables_are_made_leaves_no_database_that_is_refused(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from mlflow.store.db import utils\n"
        "from lidr.components.shared.tracking import mlflow_client\n"
        "utils._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)\n"
        "mlflow_client(sys.argv[1])\n"
    )
    killed = subprocess.run([python(), "-c", code, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob("*.db")] == []
    assert mlflow_client(str(tmp_path)).search_experiments()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.fixture
def outdated(tmp_path):
    """Return a store whose MLflow database has the tables of another version."""
    mlflow_client(str(tmp_path / "made"))
    store = tmp_path / "old"  # MLflow looks at a database once a process
    store.mkdir()
    shutil.copy(tmp_path / "made" / "mlflow.db", store)
    database = sqlite3.connect(store / "mlflow.db")
    with database:
        database.execute("update alembic_version set version_num = 'c48cb773bb87'")
    database.close()
    return store


@pytest.mark.slow
def test_a_database_with_the_tables_of_another_version_is_one_line(outdated):
    with pytest.raises(BadInput) as caught:
        mlflow_client(str(outdated))
    assert str(caught.value).count("\n") <= 1
    assert "MLflow's database has the tables of another version (c48cb773bb87;" in str(caught.value)
    assert str(caught.value).endswith(f"run: mlflow db upgrade sqlite:///{outdated}/mlflow.db")
    assert "If a newer MLflow made it, install that one;" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["history", "m"], ["promote", "m", "1", "--reason", "x"]])
def test_commands_say_in_one_line_that_the_database_is_of_another_version(outdated, command):
    with pytest.raises(BadInput, match="tables of another version"):
        app([*command, "--store", str(outdated)], standalone_mode=False)


@pytest.mark.slow
def test_a_report_says_why_aliases_are_not_known(outdated):
    found, reason = aliases_of(str(outdated), "m")
    assert found == {} and "tables of another version" in reason


@pytest.mark.slow
def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "mlflow.db").write_text(
        "no database, but a text that is long enough to be one " * 9
    )
    with pytest.raises(BadInput, match="cannot be used as MLflow's database"):
        mlflow_client(str(tmp_path))


@pytest.mark.slow
def test_processes_that_share_a_new_store_make_its_database_once(tmp_path):
    code = (
        "import sys\n"
        "from lidr.components.shared.tracking import experiment_id, mlflow_client\n"
        "store = sys.argv[1]\n"
        "print(experiment_id(mlflow_client(store), 'lidr/x', store))\n"
    )
    started = [
        subprocess.Popen(
            [python(), "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    assert len({out for out, _ in ended}) == 1


@pytest.mark.slow
def test_a_run_whose_files_were_deleted_may_be_followed_by_another_of_its_name(tmp_path):
    for seed in (3, 7):
        run = SmallRun(str(tmp_path), name="again", sections={"seed": seed})
        run.start()
        run.register(0)
        shutil.rmtree(tmp_path / "runs")
    client = mlflow_client(str(tmp_path))
    (experiment,) = [each for each in client.search_experiments() if each.name.startswith("lidr/")]
    runs = client.search_runs([experiment.experiment_id], "tags.`lidr.run` = 'small'")
    tops = [each for each in runs if "mlflow.parentRunId" not in each.data.tags]
    assert sorted(each.data.params["lidr.seed"] for each in tops) == ["3", "7"]
