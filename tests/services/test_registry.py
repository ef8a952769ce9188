"""Registration and promotion against MLflow as a team runs it, with many at once."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.registry import CountingProxy, promote_at_once, register_at_once
from lidr.components.register.run import register
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.registry.audit import entries
from lidr.components.shared.registry.evidence import require_files
from lidr.components.shared.registry.promotion import PromotionOrder, promote
from lidr.components.shared.registry.registration import (
    default_audit_log,
    ensure_model,
    ensure_version,
    open_audit_log,
)
from lidr.components.shared.registry.versions import (
    DIGEST_TAG,
    VERDICT_TAG,
    Version,
    all_versions,
    read_model,
    read_version,
)
from lidr.components.shared.tracking import client_at, mlflow_client
from lidr.pipelines import cli
from tests.fakes import finished_stage
from tests.models import tiny_model
from tests.services.stack import ADMIN, Stack
from tests.unit.register.test_run import arguments
from tests.unit.shared.registry.models import registered


@pytest.fixture
def store(stack: Stack) -> str:
    return f"s3://{stack.bucket}/lidr"


@pytest.fixture
def client(store: str):
    return mlflow_client(store)


@pytest.fixture
def name(request) -> str:
    return request.node.name


def lidr(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    """Run a command in this process."""
    monkeypatch.setattr(sys, "argv", ["lidr", *words])
    try:
        cli.main()
        code: object = 0
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr()
    return int(code or 0), said.out, said.err


def test_many_that_register_the_same_stage_make_one_version(store, client, name):
    assert register_at_once(client, store, name, 6) == [1] * 6
    [version] = all_versions(client, name)
    assert (version.number, version.aliases) == (1, ("candidate",))
    made = client.create_model_version(name, source=version.source)
    assert int(made.version) == 2, "others were made and deleted again"


def test_many_that_promote_leave_one_champion_and_an_entry_each(store, client, name):
    found = promote_at_once(client, store, name, 12)
    seconds = found.pop("promotions_seconds")
    assert seconds > 0
    assert found == {
        "promotions": 12,
        "entries": 12,
        "in_one_order": True,
        "champion_is_the_last": True,
        "unexplained": 0,
    }


def test_registration_moves_no_files_through_mlflow(stack, store, name, monkeypatch):
    files = {"model/config.json": b"{}", "model/model.safetensors": bytes(8 << 20)}
    model = finished_stage(store, "prepare", files, model=name).uri
    with CountingProxy(stack.mlflow.uri) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.uri)
        register(**arguments(store, name, model, inputs=model))
        assert 1000 < proxy.transferred < 1 << 20


@pytest.fixture
def champion(store, client, name, tmp_path) -> Version:
    """A real, tiny model as the champion."""
    folder = tiny_model(tmp_path / "made")
    files = {f"model/{path.name}": path.read_bytes() for path in folder.iterdir()}
    model = finished_stage(store, "train", files, pairs=name).uri
    tags = {DIGEST_TAG: digest_of_uri(model), VERDICT_TAG: "promote"}
    ensure_version(client, name, f"{model}/model", tags, "", default_audit_log(store, name))
    version = read_version(client, name, "1")
    promote(client, version, ensure_model(client, name, ""), PromotionOrder())
    return version


def test_mlflow_finds_the_champion_and_transformers_opens_it(champion, name, tmp_path):
    import mlflow
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = mlflow.artifacts.download_artifacts(f"models:/{name}@champion", dst_path=str(tmp_path))
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)("Nina has 4 books.", return_tensors="pt")
    assert model(**tokens).logits.isfinite().all()


def test_a_copy_in_another_registry_refers_to_the_files_or_has_its_own(
    champion, store, client, name, tmp_path, monkeypatch, capsys
):
    other = f"sqlite:///{tmp_path}/production.db"
    client_at(other)
    code, out, err = lidr(
        monkeypatch, capsys, "promote", name, "@champion", "--copy-to", other, "--output", "json"
    )
    assert (code, json.loads(out)["before"]) == (0, None), err
    there = client_at(other)
    copy = read_version(there, name, "@champion")
    assert copy.source == champion.source
    assert copy.tags["lidr.gate_verdict"] == "promote"
    assert copy.tags["lidr.copied_from"].endswith(f" {name}/1")
    assert read_version(client, name, "1").tags["lidr.copied_to"] == other
    trails = [read_model(c, name).tags["lidr.audit_log"] for c in (client, there)]
    assert trails[0] != trails[1]
    assert [len(entries(open_audit_log(name, audit_log))) for audit_log in trails] == [1, 1]

    second = registered(client, store, name, "promote")[-1]
    files = f"{store}-production"
    words = ("promote", name, str(second.number), "--copy-to", other, "--copy-files", files)
    assert lidr(monkeypatch, capsys, *words, "--verify")[0] == 0
    own = read_version(there, name, "@champion")
    assert own.source == second.source.replace(store, files)
    require_files(own, verify=True)


def test_what_is_wrong_is_said_in_one_line(
    stack, store, client, name, monkeypatch, capsys, tmp_path
):
    registered(client, store, name, "keep")

    def fails(code: int, message: str, *words: str, **environment: str) -> None:
        with monkeypatch.context() as patch:
            for key, value in environment.items():
                patch.setenv(key, value)
            said = lidr(monkeypatch, capsys, *words)
        assert said[:2] == (code, "")
        assert message in said[2]
        assert said[2].startswith("lidr: error: ") and said[2].count("\n") == 1

    monkeypatch.chdir(tmp_path)
    missing = f"has no registered model '{name}x'"
    for command in ("promote", "rollback", "history"):
        fails(2, missing, command, f"{name}x")
    fails(2, "has no version 7", "promote", name, "7")
    fails(2, "has no alias 'champion'", "promote", name, "@champion")
    fails(2, "'v2' is no version", "promote", name, "v2")
    fails(2, "has no previous champion", "rollback", name)
    fails(2, "is not moved by hand", "promote", name, "--to", "previous")
    fails(2, "needs a reason", "promote", name, "2", "--force")
    fails(3, "which said keep. Add --force", "promote", name, "2")
    fails(2, "--copy-files needs --copy-to", "promote", name, "2", "--copy-files", "s3://b/p")
    fails(2, "is the registry of", "promote", name, "1", "--copy-to", stack.mlflow.uri)
    wrong = {"MLFLOW_TRACKING_PASSWORD": "wrong"}
    fails(2, "refuses the password of 'pipeline'", "promote", name, "2", **wrong)
    untrusted = stack.mlflow.uri.replace("127.0.0.1", "localhost")
    message = f"does not trust the host name {untrusted.removeprefix('http://')!r}"
    fails(2, message, "history", name, MLFLOW_TRACKING_URI=untrusted)
    nobody = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    fails(1, "does not answer", "history", name, **nobody)
    fails(2, "no MLflow database at", "history", name, MLFLOW_TRACKING_URI="sqlite:///absent.db")
    client.delete_model_version(name, "2")
    fails(2, "has no version 2", "promote", name, "2")
    assert list(tmp_path.iterdir()) == []


def test_who_may_not_write_is_told_so(stack, store, client, name, monkeypatch, capsys):
    registered(client, store, name, "promote")
    account = {"username": "reader", "password": "a-readers-password"}
    stack.mlflow.call("/api/2.0/mlflow/users/create", account, ADMIN)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", account["username"])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", account["password"])
    code, _, err = lidr(monkeypatch, capsys, "promote", name, "2")
    assert (code, err.count("\n")) == (2, 1)
    assert "does not let 'reader' do this" in err
