from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.tracking import mlflow_client, tracking_uri


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
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)])
    assert killed.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob("*.db")] == []
    assert mlflow_client(str(tmp_path)).search_experiments()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


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
            [sys.executable, "-c", code, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    assert len({out for out, _ in ended}) == 1
