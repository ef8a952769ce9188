"""MLflow that fails: what is asked again, and what the user reads of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import BadInput, RegistryFailed, TrackingFailed
from lidr.components.shared.core.events import listening
from lidr.components.shared.core.retry import RETRY_VARIABLE
from lidr.components.shared.models.outside import resolve_model
from lidr.components.shared.tracking import ask_mlflow, client_at, experiment_id
from tests import web_hosts
from tests.json_server import serving
from tests.unit.shared.inputs.test_web import certificate

mlflow = pytest.importorskip("mlflow")

VERSION = {"name": "mine", "version": "3", "source": "s3://bucket/model", "tags": []}
NO_DATABASE = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "the database is away"}


class Server:
    """MLflow's registry, after a number of failures."""

    def __init__(self) -> None:
        self.failures = 0
        self.status = 503
        self.body: object = "<html>no upstream</html>"
        self.requests = 0

    def answer(self, request: BaseHTTPRequestHandler, _: bytes) -> tuple[int, object]:
        self.requests += 1
        if self.failures:
            self.failures -= 1
            return self.status, self.body
        return 200, {"model_version": VERSION}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setattr(retry, "_MAX_PAUSE", 0.05)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with serving(made.answer) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        yield made


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
@pytest.mark.parametrize("body", ["<html>no upstream</html>", NO_DATABASE], ids=["proxy", "itself"])
def test_mlflow_that_fails_for_a_while_is_asked_again(server: Server, status: int, body: object):
    server.failures, server.status, server.body = 8, status, body
    assert resolve_model("models:/mine@champion").source == "s3://bucket/model"
    assert server.requests == 9


def test_a_request_whose_answer_was_lost_is_sent_once_by_mlflow_s_own_client(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    server.failures, server.status = 10**6, 504
    client = client_at(os.environ["MLFLOW_TRACKING_URI"])
    with pytest.raises(mlflow.exceptions.MlflowException, match="504"):
        client.create_model_version("mine", "s3://bucket/model", await_creation_for=0)
    assert server.requests == 1


@pytest.mark.parametrize("status", [500, 503])
def test_mlflow_in_trouble_is_called_that(
    server: Server, status: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(RETRY_VARIABLE, "0.2")
    monkeypatch.setattr(retry, "REPORT_SECONDS", 0.1)
    server.failures, server.status = 10**6, status
    heard: list[dict[str, object]] = []
    with listening(heard.append), pytest.raises(TrackingFailed) as caught:
        resolve_model("models:/mine@champion")
    words = f"is up, but cannot do its work (HTTP {status})"
    assert words in str(caught.value)
    assert "Look at its log and at its database" in str(caught.value)
    assert words in str(heard[0]["message"])


def test_mlflow_that_is_not_there_does_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(RETRY_VARIABLE, "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(TrackingFailed, match=r"MLflow at http://127.0.0.1:9 does not answer \("):
        resolve_model("models:/mine@champion")


def test_a_mistyped_port_is_no_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:50O0")
    with pytest.raises(BadInput, match="'http://localhost:50O0' is not an address"):
        resolve_model("models:/mine@champion")


@pytest.mark.parametrize("uri", ["mlflow:5000", "http//mlflow:5000", "./mlruns"])
def test_an_address_without_a_scheme_is_none(uri: str):
    with pytest.raises(BadInput, match=f"'{uri}' is not an MLflow address"):
        client_at(uri)


def test_a_page_to_log_in_is_not_asked_again(server: Server):
    server.failures, server.status, server.body = 10**6, 200, "<html>Please log in</html>"
    words = r"does not answer as MLflow does \(no JSON.* a proxy wants a login"
    with pytest.raises(BadInput, match=words) as caught:
        resolve_model("models:/mine@champion")
    assert "html" not in str(caught.value)
    assert server.requests == 1


@pytest.mark.parametrize(
    ("made", "trusted", "cause", "remedy"),
    [
        ({}, False, "self-signed certificate", "in MLFLOW_TRACKING_SERVER_CERT_PATH"),
        ({"days": -9}, True, "certificate has expired", "renew it"),
        ({"days": 9, "address": "127.0.0.2"}, True, "IP address mismatch, .*", "Correct the addr"),
    ],
)
def test_the_cause_of_an_untrusted_certificate_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    made: dict[str, Any],
    trusted: bool,
    cause: str,
    remedy: str,
):
    tls = certificate(tmp_path, **made)
    if trusted:
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "tls.pem"))
    with web_hosts.serving(tls) as host:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", host.url)
        with pytest.raises(BadInput, match=rf"is not trusted \({cause}\)") as caught:
            resolve_model("models:/mine@champion")
    assert remedy in caught.value.remedy


def test_an_empty_address_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    with pytest.raises(BadInput, match="but MLFLOW_TRACKING_URI is not set"):
        resolve_model("models:/mine@champion")


@pytest.mark.parametrize(
    ("uri", "location"),
    [
        ("sqlite:////x/mlflow.db", "s3://bucket/x/mlflow"),
        ("postgresql://db/mlflow", "s3://bucket/x/mlflow"),
        ("https://mlflow", None),
    ],
)
def test_artifacts_go_below_the_store_unless_a_server_has_a_place(
    monkeypatch: pytest.MonkeyPatch, uri: str, location: str | None
):
    given: list[str | None] = []

    class Client:
        def get_experiment_by_name(self, _: str) -> None:
            """Return None: there is no such experiment."""

        def create_experiment(self, _: str, artifact_location: str | None) -> str:
            given.append(artifact_location)
            return "1"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert experiment_id(Client(), "lidr/x", "s3://bucket/x") == "1"
    assert given == [location]


@pytest.mark.parametrize(
    ("variable", "refused", "forbidden"),
    [
        ("USERNAME", "refuses the password of 'me'", "does not let 'me' do this"),
        ("TOKEN", "refuses this token", "does not let this token do this"),
        ("AUTH", "refuses this me account", "does not let this me account do this"),
        ("UNUSED", "refuses an unnamed user", "does not let an unnamed user do this"),
    ],
)
def test_who_is_refused_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, variable: str, refused: str, forbidden: str
):
    monkeypatch.setattr("mlflow.tracking.request_auth.registry.fetch_auth", lambda _: None)
    for name in ("USERNAME", "TOKEN", "AUTH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv(f"MLFLOW_TRACKING_{variable}", "me")
    for server.status, words in ((401, refused), (403, forbidden)):
        server.failures = 1
        with pytest.raises(BadInput, match=words):
            resolve_model("models:/mine@champion")


def test_mlflow_that_refuses_is_asked_once(server: Server):
    server.failures, server.status = 100, 404
    server.body = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such alias"}
    with pytest.raises(BadInput, match="is not in MLflow"):
        resolve_model("models:/mine@champion")
    assert server.requests == 1


def test_mlflow_s_refusal_of_one_request_is_repeated_a_few_times(server: Server):
    calls = []

    def clash() -> None:
        calls.append(1)
        raise RegistryFailed("another writer was there")

    with pytest.raises(RegistryFailed, match="another writer"):
        ask_mlflow(clash)
    assert len(calls) == 4
