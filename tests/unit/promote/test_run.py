"""The two ends of the promotion pipeline: who competes, and what follows from the decision."""

from __future__ import annotations

from pathlib import Path

import pytest

from lidr.components.nominate.run import nominate
from lidr.components.promote.run import promote
from lidr.components.shared.core.errors import BadInput, GateRefused
from lidr.components.shared.registry.history import history
from lidr.components.shared.registry.promotion import PromotionOrder
from lidr.components.shared.registry.promotion import promote as move_alias
from lidr.components.shared.registry.registration import default_audit_log, ensure_model
from lidr.components.shared.registry.versions import read_model
from lidr.components.shared.tracking import mlflow_client
from tests.fakes import finished_stage
from tests.unit.shared.registry.models import registered


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def client(store, monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "KFP_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return mlflow_client(store)


def decision(store: str, word: str, name: str) -> str:
    counts = {"decision": word, "reason": "mean +4.0 [1.0, 7.0]"}
    return finished_stage(store, "gate", {}, counts, case=name).uri


def test_the_better_one_of_two_becomes_the_champion(store, client):
    name = "better"
    start, first, kept = registered(client, store, name, "promote keep")
    move_alias(client, first, ensure_model(client, name, ""), PromotionOrder())
    chosen = nominate(store=store, name=name, version="3", alias="champion", reason="")
    assert chosen.champion == first.source.removesuffix("/model")
    assert chosen.challenger == kept.source.removesuffix("/model")
    assert (chosen.champion_number, chosen.challenger_number) == (2, 3)
    numbers = {"challenger_number": 3, "champion_number": 2}
    given = {"store": store, "name": name, "alias": "champion"} | numbers
    for word in ("keep", "stop"):
        with pytest.raises(GateRefused, match=f"which said {word}"):
            promote(**given, decision=decision(store, word, name), reason="")
    better = decision(store, "promote", name)
    assert promote(**given, decision=better, reason="") == "better/3"
    move = history(client, name).rows[-1].entry.move
    assert (move.before, move.gate, move.forced) == (2, better, False)
    assert move.reason == "mean +4.0 [1.0, 7.0]"
    assert promote(**given, decision=better, reason="") == "better/3"  # a retry
    with pytest.raises(GateRefused, match="is version 3 by now"):
        promote(**given | {"challenger_number": start.number}, decision=better, reason="late")
    assert read_model(client, name).aliases == {"champion": 3, "previous": 2}


def test_a_fault_of_our_own_is_not_called_mlflow_s(store, client, monkeypatch):
    def fails(*_: object) -> None:
        raise LookupError("a fault of our own")

    name = "faulty"
    registered(client, store, name, "")
    ensure_model(client, name, default_audit_log(store, name))
    monkeypatch.setattr("lidr.components.shared.registry.promotion.record", fails)
    numbers = {"challenger_number": 1, "champion_number": 0}
    given = {"store": store, "name": name, "alias": "champion"} | numbers
    with pytest.raises(LookupError, match="a fault of our own"):
        promote(**given, decision=decision(store, "promote", name), reason="")


@pytest.mark.parametrize("gone", [0, 1])
def test_nominate_looks_for_the_files_of_both_first(store, client, gone):
    name = f"files{gone}"
    versions = registered(client, store, name, "promote")
    move_alias(client, versions[0], ensure_model(client, name, ""), PromotionOrder())
    Path(versions[gone].source, "config.json").unlink()
    with pytest.raises(BadInput, match=f"{name}/{gone + 1}.*1 of 1 are missing"):
        nominate(store=store, name=name, version="2", alias="champion", reason="")


def test_nominate_resolves_the_alias_once(store, client, monkeypatch):
    name = "moving"
    versions = registered(client, store, name, "promote promote")
    home = ensure_model(client, name, "")
    move_alias(client, versions[0], home, PromotionOrder())
    read, moves = client.get_registered_model, [2]

    def read_then_move(name: str) -> object:
        found = read(name)
        if moves:
            client.set_registered_model_alias(name, "champion", str(moves.pop()))
        return found

    monkeypatch.setattr(client, "get_registered_model", read_then_move)
    monkeypatch.setattr("lidr.components.nominate.run.mlflow_client", lambda _: client)
    chosen = nominate(store=store, name=name, version="3", alias="champion", reason="")
    assert (chosen.champion_number, chosen.challenger_number) == (1, 3)


def test_who_has_no_rival_is_told_what_to_do(store, client):
    name = "alone"
    start = registered(client, store, name, "")[0]
    with pytest.raises(BadInput, match="has no champion to compare alone/1 with"):
        nominate(store=store, name=name, version="1", alias="champion", reason="")
    move_alias(
        client, start, ensure_model(client, name, default_audit_log(store, name)), PromotionOrder()
    )
    with pytest.raises(BadInput, match="is champion already"):
        nominate(store=store, name=name, version="@champion", alias="champion", reason="")
    with pytest.raises(BadInput, match="has no registered model 'nobody'"):
        nominate(store=store, name="nobody", version="1", alias="champion", reason="")


@pytest.mark.parametrize(
    ("alias", "reason", "message"),
    [
        ("previous", "", "is not moved by hand"),
        ("_prod", "", "cannot be an alias"),
        ("champion", "x" * 1001, "1,001 characters"),
    ],
)
def test_nominate_refuses_first_what_promote_would_refuse_last(store, alias, reason, message):
    with pytest.raises(BadInput, match=message):
        nominate(store=store, name="nobody", version="1", alias=alias, reason=reason)
