from __future__ import annotations

import pytest

from components.shared.errors import BadInput
from components.shared.tracking import tracking_uri


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
