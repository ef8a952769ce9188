"""Copies of versions in another registry, on SQLite and local stores."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from mlflow import MlflowClient

from lidr.components.shared.core.errors import BadInput, RegistryFailed
from lidr.components.shared.models.outside import ADAPTER_TAG
from lidr.components.shared.registry.ancestry import read_ancestry
from lidr.components.shared.registry.copies import COPIED_TO_TAG, copy_version, target_account
from lidr.components.shared.registry.evidence import GATE_TAG, require_files, verdict_of
from lidr.components.shared.registry.registration import (
    AUDIT_LOG_TAG,
    default_audit_log,
    ensure_model,
    ensure_version,
)
from lidr.components.shared.registry.versions import (
    COPIED_FROM_TAG,
    DIGEST_TAG,
    model_names,
    read_model,
    read_version,
)
from lidr.components.shared.store.base import Store
from lidr.components.shared.tracking import client_at, mlflow_client
from lidr.pipelines.cli.registered import connect
from tests.chains import make_chain
from tests.fakes import finished_stage
from tests.json_server import serving
from tests.unit.shared.registry.models import registered


@pytest.fixture(scope="module")
def databases(tmp_path_factory) -> tuple[str, str]:
    """Folders of two registries."""
    return str(tmp_path_factory.mktemp("here")), str(tmp_path_factory.mktemp("there"))


@pytest.fixture(autouse=True)
def _environment(tmp_path, monkeypatch):
    for place in ("LIDR_TARGET", "MLFLOW_TRACKING"):
        for key in ("USERNAME", "PASSWORD", "TOKEN"):
            monkeypatch.delenv(f"{place}_{key}", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def client(databases) -> MlflowClient:
    return mlflow_client(databases[0])


@pytest.fixture
def target(databases) -> MlflowClient:
    return client_at(f"sqlite:///{databases[1]}/production.db")


@pytest.fixture
def name(request) -> str:
    """A registered model of the test's own: all tests share the databases."""
    return request.node.name


@pytest.fixture
def store(tmp_path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def audit_log(client, store, name) -> Store:
    return ensure_model(client, name, default_audit_log(store, name))


def warnings(capsys: Any) -> str:
    said = capsys.readouterr()
    return "".join(line for line in (said.out + said.err).splitlines() if "already existed" in line)


def test_files_of_a_copy_are_those_of_one_execution(
    client, target, name, store, audit_log, tmp_path
):
    version = registered(client, store, name, "promote")[-1]
    files = str(tmp_path / "production")
    train = finished_stage(files, "train", {"model/config.json": b"[]"}, pairs=f"{name}1")
    with pytest.raises(BadInput, match=f"{train.uri} is there already"):
        copy_version(client, version, target, files, audit_log)
    assert train.store.read(train.key("model/config.json")) == b"[]"
    copy = copy_version(client, version, target, f"{files}-2", audit_log)
    require_files(copy, verify=True)
    assert verdict_of(copy).gate.startswith(f"{files}-2/stages/gate/{version.tags[GATE_TAG]}")


def test_what_a_copy_still_refers_to_is_named_whether_model_or_adapter(
    client, target, name, store, audit_log, tmp_path, capsys
):
    tuned = finished_stage(store, "train", {"adapter/adapter_config.json": b"{}"}, pairs=name)
    (tmp_path / "base").mkdir()
    source, adapter = str(tmp_path / "base"), f"{tuned.uri}/adapter"
    tags = {DIGEST_TAG: tuned.digest, ADAPTER_TAG: adapter}
    number = ensure_version(client, name, source, tags, "", audit_log.uri)
    version = read_version(client, name, str(number))
    copy_version(client, version, target, "", audit_log)
    assert not warnings(capsys)
    files = str(tmp_path / "production")
    copy = copy_version(client, version, target, files, audit_log)
    assert copy.tags[ADAPTER_TAG] == adapter
    said = warnings(capsys)
    assert f"still refers to {adapter}; to use the new files" in said and source not in said


def test_registries_at_one_host_have_an_audit_log_each(client, name, store, audit_log, tmp_path):
    version = registered(client, store, name, "promote")[-1]
    logs = set()
    for place in ("a/b", "a-b", "a"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        target = client_at(f"sqlite:///{tmp_path}/{place}/mlflow.db")
        copy_version(client, version, target, "", audit_log)
        logs.add(read_model(target, name).tags[AUDIT_LOG_TAG])
    assert len(logs) == 3

    asked: list[Any] = []

    def refuse(request: Any, body: bytes) -> tuple[int, Any]:
        if "/model-versions/search" in request.path:
            return 200, {}
        asked.append(body.decode())
        return 400, {"error_code": "BAD_REQUEST", "message": "no"}

    with serving(refuse) as host:
        for place in ("", "/", "/one", "/two/"):
            with pytest.raises(RegistryFailed, match=r"refused a request \(registration"):
                copy_version(client, version, client_at(f"{host}{place}"), "", audit_log)
    home = f"{default_audit_log(store, name)}@{host.removeprefix('http://')}"
    for body, end in zip(asked, ("", "", "%2Fone", "%2Ftwo"), strict=True):
        assert f'{home}{end}"' in body


def test_a_version_that_lidr_did_not_register_is_refused_before_files_are_copied(
    client, target, name, store, audit_log, tmp_path
):
    version = registered(client, store, name, "promote")[-1]
    client.delete_model_version_tag(name, str(version.number), DIGEST_TAG)
    bare = read_version(client, name, str(version.number))
    files = tmp_path / "production"
    with pytest.raises(BadInput, match=f"{bare.label} was not registered by lidr.*Register it"):
        copy_version(client, bare, target, str(files), audit_log)
    assert not files.exists()


def test_the_registry_itself_is_refused_under_any_address(client, name, store, audit_log, tmp_path):
    version = registered(client, store, name, "promote")[-1]
    folder = client.tracking_uri.removeprefix("sqlite:///").removesuffix("/mlflow.db")
    (tmp_path / "link").symlink_to(folder)
    files = tmp_path / "production"
    for uri in (f"{client.tracking_uri}/", f"sqlite:///{tmp_path}/link/mlflow.db"):
        here = client_at(uri.rstrip("/"))
        target = Addressed(here, uri)
        with pytest.raises(BadInput, match=f"is the registry of {version.label} itself"):
            copy_version(client, version, target, str(files), audit_log)
    assert COPIED_TO_TAG not in read_version(client, name, str(version.number)).tags
    assert not files.exists()


class Addressed:
    """A client whose registry is known by another address."""

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self.client = client
        self.tracking_uri = uri

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


def test_the_original_is_marked_before_there_is_a_copy(client, target, name, store, audit_log):
    """And keeps what another copy has noted since the version was read."""
    version = registered(client, store, name, "promote")[-1]
    number = str(version.number)
    client.set_model_version_tag(name, number, COPIED_TO_TAG, "https://other/")
    with serving(
        lambda request, body: (200, {}) if "search" in request.path else (400, "no")
    ) as uri:
        for _ in range(2):
            with pytest.raises(RegistryFailed):
                copy_version(client, version, client_at(f"{uri}/"), "", audit_log)
    assert read_version(client, name, number).tags[COPIED_TO_TAG] == f"https://other/ {uri}"


def test_no_copy_is_made_of_what_cannot_be_marked(client, target, name, store, audit_log):
    version = registered(client, store, name, "promote")[-1]
    client.delete_model_version(name, str(version.number))
    with pytest.raises(BadInput, match=f"no version {version.label}"):
        copy_version(client, version, target, "", audit_log)
    assert name not in model_names(target)


def test_lineage_of_a_copy_and_of_its_copy_has_the_original_s_run(
    client, target, store, tmp_path, databases
):
    chain = make_chain(store, 1, name="lineage of copies")
    log = default_audit_log(store, chain.name)
    tags = chain.tags(1)
    for t in (0, 1):
        source = f"{chain.model(t).uri}/model"
        ensure_version(client, chain.name, source, chain.tags(t), "", log)
    version, home = read_version(client, chain.name, "2"), ensure_model(client, chain.name, log)
    (tmp_path / "third").mkdir()
    third = client_at(f"sqlite:///{tmp_path}/third/mlflow.db")
    copy = copy_version(client, version, target, "", home)
    again = copy_version(target, copy, third, "", home)
    assert tags["lidr.model_digest"] == again.tags[DIGEST_TAG] and again.number == 1
    for each in (version, copy, again):
        found = read_ancestry(None, each)
        assert (found.runs, found.findings) == (("first",), ()), each.label


def test_lineage_of_a_copy_in_a_store_of_its_own_needs_no_runs_there(
    client, target, store, tmp_path
):
    chain = make_chain(store, 1, name="files of copies")
    log = default_audit_log(store, chain.name)
    ensure_version(client, chain.name, f"{chain.model(1).uri}/model", chain.tags(1), "", log)
    version, home = read_version(client, chain.name, "1"), ensure_model(client, chain.name, log)
    copy = copy_version(client, version, target, str(tmp_path / "production"), home)
    found = read_ancestry(None, copy)
    assert found.store.uri == str(tmp_path / "production")
    assert (found.runs, found.findings) == ((), ())
    bare = replace(copy, tags={k: v for k, v in copy.tags.items() if k != COPIED_FROM_TAG})
    assert len(read_ancestry(None, bare).findings) == 1


def test_who_is_refused_over_there_is_told_which_variables_to_correct(
    client, name, store, audit_log, monkeypatch
):
    version = registered(client, store, name, "promote")[-1]
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "staging")
    monkeypatch.setenv("LIDR_TARGET_USERNAME", "production")
    monkeypatch.setenv("LIDR_TARGET_PASSWORD", "wrong")
    with serving(lambda request, body: (401, "no")) as host, pytest.raises(BadInput) as caught:
        copy_version(client, version, client_at(host), "", audit_log)
    said, remedy = str(caught.value), caught.value.remedy
    assert "refuses the password of 'production'" in said and said.endswith(remedy)
    assert remedy == "Correct LIDR_TARGET_USERNAME and LIDR_TARGET_PASSWORD, or LIDR_TARGET_TOKEN."
    with pytest.raises(BadInput, match="Correct --copy-to"), target_account():
        connect("carrier://pigeon")
    left = {key: value for key, value in os.environ.items() if key.startswith("MLFLOW_TRACKING_")}
    assert left == {"MLFLOW_TRACKING_USERNAME": "staging"}


@pytest.mark.parametrize(
    ("account", "sent"),
    [
        ({"USERNAME": "deployer", "PASSWORD": "there"}, "Basic ZGVwbG95ZXI6dGhlcmU="),
        ({"TOKEN": "there"}, "Bearer there"),
    ],
)
def test_the_account_of_the_target_replaces_every_login_of_ours(
    client, name, store, audit_log, monkeypatch, account, sent
):
    version = registered(client, store, name, "promote")[-1]
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "kubernetes")
    monkeypatch.setenv("MLFLOW_TRACKING_AWS_SIGV4", "true")
    for key, value in account.items():
        monkeypatch.setenv(f"LIDR_TARGET_{key}", value)
    received: list[Any] = []

    def refuse(request: Any, body: bytes) -> tuple[int, Any]:
        received.append(request.headers["Authorization"])
        return 401, "no"

    with serving(refuse) as host, pytest.raises(BadInput, match="refuses"):
        copy_version(client, version, client_at(host), "", audit_log)
    assert set(received) == {sent}
    assert os.environ["MLFLOW_TRACKING_AUTH"] == "kubernetes"
    assert os.environ["MLFLOW_TRACKING_AWS_SIGV4"] == "true"
