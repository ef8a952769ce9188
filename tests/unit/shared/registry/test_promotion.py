"""Promotion, rollback and their record, on SQLite and a local store."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lidr.components.shared.core.actor import actor
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.errors import BadInput, CorruptStage, GateRefused
from lidr.components.shared.models.outside import ADAPTER_TAG
from lidr.components.shared.registry import registration
from lidr.components.shared.registry.audit import AliasMove, confirm, entries, record
from lidr.components.shared.registry.evidence import GateVerdict, require_files, verdict_of
from lidr.components.shared.registry.history import history
from lidr.components.shared.registry.promotion import (
    PromotionOrder,
    finish_promotion,
    promote,
    rollback,
)
from lidr.components.shared.registry.registration import (
    AUDIT_LOG_TAG,
    audit_log_of,
    default_audit_log,
    ensure_model,
    ensure_version,
)
from lidr.components.shared.registry.versions import VERDICT_TAG, read_model, read_version
from lidr.components.shared.store.base import Entry
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.marker import MARKER
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import open_stage
from lidr.components.shared.tracking import mlflow_client
from tests.fakes import finished_stage
from tests.unit.shared.registry.models import fetched_model, registered


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def client(store, monkeypatch) -> MlflowClient:
    for name in ("MLFLOW_TRACKING_URI", "LIDR_ACTOR", "KFP_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return mlflow_client(store)


@pytest.fixture
def name(request) -> str:
    """A registered model of the test's own: all tests share one database."""
    return request.node.name


@pytest.fixture
def audit_log(client, store, name):
    return ensure_model(client, name, default_audit_log(store, name))


def test_only_what_passed_is_promoted_and_the_way_back_is_kept(store, client, name, audit_log):
    start, first, kept, second = registered(client, store, name, "promote keep promote")
    assert promote(client, start, audit_log, PromotionOrder()).move.verdict == "start"
    assert promote(client, first, audit_log, PromotionOrder()).move.before == start.number
    for refused, reason in ((kept, "which said keep"), (start, "is the start")):
        with pytest.raises(GateRefused, match=reason) as caught:
            promote(client, refused, audit_log, PromotionOrder())
        assert caught.value.exit_code == 3
    promote(client, second, audit_log, PromotionOrder(verify=True))
    assert rollback(client, name, audit_log, "worse in Thai").move.version == first.number
    aliases = {"champion": first.number, "previous": second.number}
    assert read_model(client, name).aliases == aliases
    assert rollback(client, name, audit_log).move.version == second.number
    promote(client, second, audit_log, PromotionOrder())
    assert read_model(client, name).aliases["previous"] == first.number
    moves = [(e.move.action, e.move.before, e.move.version) for e in entries(audit_log)]
    assert moves == [
        ("promote", None, 1),
        ("promote", 1, 2),
        ("promote", 2, 4),
        ("rollback", 4, 2),
        ("rollback", 2, 4),
        ("promote", 4, 4),
    ]


def test_a_forced_promotion_keeps_its_reason_without_control_codes(store, client, name, audit_log):
    start, kept = registered(client, store, name, "keep")
    promote(client, start, audit_log, PromotionOrder())
    move = promote(
        client, kept, audit_log, PromotionOrder(force=True, reason="a\x1b[31mtest\n")
    ).move
    assert (move.forced, move.verdict, move.reason) == (True, "keep", "a\ufffd[31mtest")
    noted = json.loads(read_version(client, name, "@champion").tags["lidr.promotion"])
    assert (noted["before"], noted["forced"], noted["reason"]) == (1, True, move.reason)
    [_, entry] = entries(audit_log)
    assert entry.actor == actor()
    assert entry.move.gate.endswith(f"stages/gate/{kept.tags['lidr.gate_digest']}")


def test_the_gates_own_stage_counts_not_the_tag(store, client, name, audit_log):
    kept = registered(client, store, name, "keep")[-1]
    client.set_model_version_tag(name, "2", VERDICT_TAG, "promote")
    forged = read_version(client, name, "2")
    assert verdict_of(forged).word == "keep"
    with pytest.raises(GateRefused, match="which said keep"):
        promote(client, forged, audit_log, PromotionOrder())
    shutil.rmtree(verdict_of(kept).gate)
    assert verdict_of(forged) == GateVerdict("promote")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (PromotionOrder(alias="candidate"), "is not moved by hand"),
        (PromotionOrder(alias="previous"), "is not moved by hand"),
        (PromotionOrder(alias="latest"), "is not moved by hand"),
        (PromotionOrder(alias="V12"), "is not moved by hand"),
        (PromotionOrder(alias="a b"), "cannot be an alias"),
        (PromotionOrder(alias="_prod"), "cannot be an alias. Begin with a letter or digit"),
        (PromotionOrder(force=True), "needs a reason"),
        (PromotionOrder(force=True, reason=" \n"), "needs a reason"),
        (PromotionOrder(reason="x" * 1001), "1,001 characters"),
    ],
)
def test_an_order_that_contradicts_itself_is_refused(order, message):
    with pytest.raises(BadInput, match=message):
        order.validate()


def test_a_comparison_with_a_champion_that_is_gone_does_not_count(store, client, name, audit_log):
    start, first, second = registered(client, store, name, "promote promote")
    promote(client, start, audit_log, PromotionOrder())
    promote(client, first, audit_log, PromotionOrder())
    late = PromotionOrder(
        verdict=GateVerdict("promote", "gate"), expected=start.number, force=True, reason="x"
    )
    with pytest.raises(GateRefused, match="is version 2 by now"):
        promote(client, second, audit_log, late)
    assert promote(client, second, audit_log, PromotionOrder(expected=2)).done is True
    promote(client, second, audit_log, PromotionOrder(expected=2))  # a retry of what succeeded
    assert read_model(client, name).aliases == {"champion": second.number, "previous": first.number}


def test_a_first_champion_replaces_none_that_came_meanwhile(store, client, name, audit_log):
    start, first = registered(client, store, name, "promote")
    assert promote(client, start, audit_log, PromotionOrder(expected=0)).move.before is None
    with pytest.raises(GateRefused, match=r"is version 1 by now, but .*/2 was to be the first"):
        promote(client, first, audit_log, PromotionOrder(expected=0))


def test_another_alias_moves_without_previous(store, client, name, audit_log):
    first, second = registered(client, store, name, "promote")
    promote(client, first, audit_log, PromotionOrder(alias="staging"))
    promote(client, second, audit_log, PromotionOrder(alias="staging"))
    assert read_model(client, name).aliases == {"staging": 2}


def test_there_is_nothing_to_go_back_to_before_the_second_promotion(store, client, name, audit_log):
    start = registered(client, store, name, "")[0]
    for _ in range(2):
        with pytest.raises(BadInput, match="has no previous champion"):
            rollback(client, name, audit_log)
        promote(client, start, audit_log, PromotionOrder())
    assert len(entries(audit_log)) == 2


class Died(BaseException):
    pass


@pytest.mark.parametrize(
    ("after", "note", "champion", "done"),
    [
        (0, "not carried out", 1, [True, False, True]),
        (1, "not carried out", 1, [True, False, True]),
        (2, "not confirmed", 2, [True, True]),
    ],
)
def test_a_promotion_that_was_cut_off_is_seen_and_can_be_repeated(
    store, client, name, monkeypatch, after, note, champion, done
):
    audit_log = ensure_model(client, name, default_audit_log(store, name))
    start, first = registered(client, store, name, "promote")
    promote(client, start, audit_log, PromotionOrder())
    original, calls = MlflowClient.set_registered_model_alias, []

    def dies(self, *arguments: str) -> None:
        calls.append(arguments)
        if len(calls) <= after:
            original(self, *arguments)
        if len(calls) >= max(after, 1):
            raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(MlflowClient, "set_registered_model_alias", dies)
        promote(client, first, audit_log, PromotionOrder())
    found = history(client, name)
    assert [row.note for row in found.rows] == ["", note]
    assert (found.model.aliases["champion"], found.unexplained) == (champion, [])
    assert promote(client, first, audit_log, PromotionOrder()).move.before == 1
    assert read_model(client, name).aliases == {"champion": 2, "previous": 1}
    found = history(client, name)
    assert [row.entry.done for row in found.rows] == done
    assert found.rows[1].note == ("" if done[1] else note)


def test_a_rollback_that_was_cut_off_has_moved_the_champion_and_can_be_repeated(
    store, client, name, monkeypatch
):
    audit_log = ensure_model(client, name, default_audit_log(store, name))
    start, first = registered(client, store, name, "promote")
    for version in (start, first):
        promote(client, version, audit_log, PromotionOrder())
    original = MlflowClient.set_registered_model_alias

    def once(self, *arguments: str) -> None:
        if arguments[1] == "previous":
            raise Died
        original(self, *arguments)

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(MlflowClient, "set_registered_model_alias", once)
        rollback(client, name, audit_log)
    assert read_model(client, name).aliases["champion"] == start.number
    assert rollback(client, name, audit_log).move.before == first.number
    aliases = {"champion": start.number, "previous": first.number}
    assert read_model(client, name).aliases == aliases
    assert [entry.done for entry in entries(audit_log)] == [True, True, True]
    assert rollback(client, name, audit_log).move.version == first.number


def test_a_rollback_that_moved_both_aliases_before_it_was_cut_off_is_not_undone_by_a_repeat(
    store, client, name, monkeypatch
):
    audit_log = ensure_model(client, name, default_audit_log(store, name))
    start, first = registered(client, store, name, "promote")
    for version in (start, first):
        promote(client, version, audit_log, PromotionOrder())

    def dies(*_: object) -> None:
        raise Died

    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr("lidr.components.shared.registry.promotion.confirm", dies)
        rollback(client, name, audit_log)
    assert rollback(client, name, audit_log).move.version == start.number
    aliases = {"champion": start.number, "previous": first.number}
    assert read_model(client, name).aliases == aliases
    assert [entry.done for entry in entries(audit_log)] == [True, True, True]


def test_a_promotion_that_was_cut_off_is_no_rollback_to_finish(store, client, name, audit_log):
    start = registered(client, store, name, "")[0]
    for alias in ("champion", "previous"):
        client.set_registered_model_alias(name, alias, str(start.number))
    record(audit_log, AliasMove("promote", "champion", start.number, None))
    with pytest.raises(BadInput, match="has no previous champion"):
        rollback(client, name, audit_log)


def test_a_rollback_that_was_cut_off_is_no_promotion_to_finish(store, client, name, audit_log):
    """Its own repeat would find it confirmed, and go back again."""
    start, first = registered(client, store, name, "promote")
    promote(client, start, audit_log, PromotionOrder())
    assert finish_promotion(client, start, audit_log) is None
    record(audit_log, AliasMove("rollback", "champion", start.number, first.number))
    assert finish_promotion(client, start, audit_log) is None
    promoted = record(audit_log, AliasMove("promote", "champion", first.number, start.number))
    assert finish_promotion(client, first, audit_log) is None, "the alias has not moved"
    client.set_registered_model_alias(name, "champion", str(first.number))
    assert finish_promotion(client, first, audit_log) == replace(promoted, done=True)
    assert read_model(client, name).aliases == {"champion": first.number, "previous": start.number}


def test_a_move_that_is_made_while_the_audit_log_is_read_is_not_called_cut_off(tmp_path):
    """Between two listings it was recorded and confirmed: only in the second one."""
    move = AliasMove("promote", "champion", 1, None)

    class Busy(LocalStore):
        def list(self, prefix: str) -> list[Entry]:
            found = super().list(prefix)
            if not super().list(prefix):
                confirm(self, record(LocalStore(tmp_path), move))
            return found

    assert all(entry.done for entry in entries(Busy(tmp_path)))
    assert [entry.done for entry in entries(Busy(tmp_path))] == [True]


@pytest.mark.parametrize("text", [b"{", b"{}", b'{"action": "promote"}'])
def test_a_damaged_audit_entry_is_not_to_be_removed(tmp_path, text):
    audit_log = LocalStore(tmp_path)
    entry = record(audit_log, AliasMove("promote", "champion", 1, None))
    audit_log.write(f"audit/{entry.name}.json", text)
    with pytest.raises(BadInput, match=r"Restore it, or move it away\.$"):
        entries(audit_log)


def test_an_alias_that_others_moved_is_noticed(store, client, name, audit_log):
    start, first, second = registered(client, store, name, "promote promote")
    promote(client, first, audit_log, PromotionOrder())
    client.set_registered_model_alias(name, "champion", str(start.number))
    [sentence] = history(client, name).unexplained
    assert sentence.startswith(
        "champion is version 1 in MLflow, but the audit log left it at version 2"
    )
    promote(client, second, audit_log, PromotionOrder())
    last = history(client, name).rows[-1]
    assert last.note == "before it, the alias was moved from version 2 by other means"
    assert history(client, name).unexplained == []
    client.delete_model_version(name, str(second.number))
    assert history(client, name).unexplained[0].startswith("champion is nowhere in MLflow")


def test_a_move_that_nobody_can_know_of_is_not_called_undone(store, client, name, audit_log):
    start, first, second = registered(client, store, name, "promote promote")
    promote(client, start, audit_log, PromotionOrder())
    record(audit_log, AliasMove("promote", "champion", first.number, start.number))
    client.set_registered_model_alias(name, "champion", str(second.number))
    found = history(client, name)
    assert found.rows[-1].note == "not confirmed; it may have been carried out"
    assert found.unexplained == [
        "champion is version 3 in MLflow, but the audit log left it at version 1 or version 2: "
        "it was moved by other means"
    ]
    promote(client, first, audit_log, PromotionOrder())
    last = history(client, name).rows[-1]
    assert last.note == (
        "before it, the alias was moved from version 1 or version 2 by other means"
    )


def test_a_version_without_its_files_is_not_promoted(store, client, name, audit_log):
    version = registered(client, store, name, "promote")[-1]
    stage = open_stage(version.source.removesuffix("/model"))
    stage.store.write(stage.key("model/config.json"), b"[]")
    require_files(version)
    with pytest.raises(CorruptStage, match="does not have the digest"):
        require_files(version, verify=True)
    stage.store.write(stage.key("model/config.json"), b"{} ")
    with pytest.raises(BadInput, match="1 of 1 are missing or truncated: model/config"):
        require_files(version)
    stage.store.delete(stage.key("_SUCCESS"))
    with pytest.raises(BadInput, match="no complete stage"):
        promote(client, version, audit_log, PromotionOrder())
    assert read_model(client, name).aliases == {}
    assert entries(audit_log) == []


@pytest.mark.parametrize("tagged", [False, True])
def test_the_files_of_a_fetched_base_are_checked(client, store, name, tmp_path, tagged):
    """That of M_0, and the one under an adapter that was not merged."""
    source = fetched_model(str(tmp_path / "fetched"))
    version = replace(registered(client, store, name, "")[0], source=source.uri)
    if tagged:
        adapter = finished_stage(store, "train", {"adapter/adapter_model.safetensors": b"lora"})
        version = replace(version, tags=version.tags | {ADAPTER_TAG: f"{adapter.uri}/adapter"})
    require_files(version, verify=True)
    weights = tmp_path / "fetched" / source.prefix / "model-2.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[::-1])
    require_files(version)
    with pytest.raises(CorruptStage, match=r"model-2.*does not have the digest") as caught:
        require_files(version, verify=True)
    fetch = f"delete {source.uri} and run `lidr fetch` again."
    assert caught.value.remedy == f"Restore it, or {fetch}"
    weights.write_bytes(before + b" ")
    for _ in range(2):
        with pytest.raises(
            BadInput, match=r"1 of 3 are missing or truncated: model-2\.safe"
        ) as refused:
            require_files(version)
        assert refused.value.remedy == f"Restore them, or {fetch}"
        weights.unlink(missing_ok=True)
    weights.write_bytes(before)
    marker = source.store.path(source.key(MARKER))
    sealed = marker.read_bytes()
    marker.write_bytes(sealed.replace(b"abc", b"abd"))
    with pytest.raises(CorruptStage, match="_SUCCESS was changed"):
        require_files(version)
    marker.unlink()
    with pytest.raises(BadInput, match=r"no complete source\. Restore them, or run `lidr fetch`"):
        require_files(version)
    marker.write_bytes(sealed)
    require_files(version, verify=True)


def test_files_in_a_store_that_may_only_be_read_are_checked(
    client, store, name, tmp_path, monkeypatch
):
    source = fetched_model(str(tmp_path))
    own = registered(client, store, name, "")[0]
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    for version in (own, replace(own, source=source.uri)):
        require_files(version, verify=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("/gone/stages/train/abc/model", "no such folder. Restore them, or run the recipe again"),
        ("/gone/model", "no such folder. Restore them: no run makes"),
        ("mlflow-artifacts:/1/model", "at mlflow-artifacts:/1/model, which lidr cannot check"),
        ("runs:/1/model", "which lidr cannot check"),
        (f"gs://b/sources/{'0' * 64}", "which lidr cannot check"),
        (f"file:///gone/sources/{'0' * 64}", "no complete source"),
        (f"/gone/sources/{'0' * 64}", "no complete source. Restore them, or run `lidr fetch`"),
        ("models:/m-1", "which lidr cannot check"),
    ],
)
def test_files_that_are_nowhere_are_named(store, client, source, message):
    version = registered(client, store, f"files {digest_of(source)}", "")[0]
    with pytest.raises(BadInput, match=message):
        require_files(replace(version, source=source))
    assert not Path("/gone").exists()


def test_files_that_cannot_be_used_are_not_called_gone(store, client, name, tmp_path):
    (tmp_path / "config.json").write_bytes(b"{}")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tmp_path / "model.safetensors").write_bytes(pointer)
    version = replace(registered(client, store, name, "")[0], source=str(tmp_path))
    with pytest.raises(BadInput, match=r"/1 cannot be used: .*a pointer of Git LFS") as caught:
        require_files(version)
    assert caught.value.remedy.startswith("Run `git lfs pull`")


def test_a_record_that_is_gone_or_damaged_is_named(store, client, name, audit_log):
    start = registered(client, store, name, "")[0]
    entry = promote(client, start, audit_log, PromotionOrder())
    audit_log.write(f"audit/{entry.name}.json", b'{"time": 3}')
    with pytest.raises(BadInput, match="Restore it, or move it away"):
        history(client, name)
    client.set_registered_model_tag(name, "lidr.audit_log", "/gone/registry/x")
    with pytest.raises(BadInput, match="there is no folder /gone"):
        history(client, name)


def test_a_model_that_others_registered_gets_a_record_once(store, client, name, monkeypatch):
    monkeypatch.setattr(registration, "_TAG_SECONDS", 0.0)
    client.create_registered_model(name)
    assert history(client, name).rows == []
    first = audit_log_of(client, read_model(client, name), default_audit_log(store, name))
    again = audit_log_of(client, read_model(client, name), "/elsewhere")
    assert first.uri == again.uri == default_audit_log(store, name)


def test_two_that_name_the_record_at_once_use_the_same_one(store, client, name, monkeypatch):
    client.create_registered_model(name)
    stale = read_model(client, name)
    other = default_audit_log(store, f"{name} of another")

    def meanwhile(_: float) -> None:
        client.set_registered_model_tag(name, AUDIT_LOG_TAG, other)

    monkeypatch.setattr(registration, "sleep", meanwhile)
    first = audit_log_of(client, stale, default_audit_log(store, name))
    monkeypatch.delattr(registration, "sleep")
    second = audit_log_of(client, stale, default_audit_log(store, name))
    assert first.uri == second.uri == other, "the tag that was set in the meantime counts"


def test_a_version_that_a_lost_answer_made_twice_is_registered_once(
    store, client, name, monkeypatch
):
    create = MlflowClient.create_model_version

    def twice(self, *args, **kwargs):
        create(self, *args, **kwargs)  # its answer is lost, and the request repeated
        return create(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_model_version", twice)
    [version] = registered(client, store, name, "")
    assert version.number == 1
    given = (version.source, version.tags, "", default_audit_log(store, name))
    assert ensure_version(client, name, *given) == 1


def test_an_unknown_alias_is_answered_with_the_known_ones(store, client, name):
    registered(client, store, name, "")
    with pytest.raises(BadInput, match=r"no alias 'best'\. It has none yet\."):
        read_version(client, name, "@best")
    for alias in ("champion", "candidate"):
        client.set_registered_model_alias(name, alias, "1")
    with pytest.raises(BadInput, match=r"Its aliases are @candidate, @champion\."):
        read_version(client, name, "@best")


def test_entries_sort_by_when_they_were_written_whatever_the_clock_says(
    store, client, name, audit_log
):
    start = registered(client, store, name, "")[0]
    future = promote(client, start, audit_log, PromotionOrder(reason="first"))
    later = future.name.replace("2", "3", 1)
    for suffix in (".json", ".done"):
        audit_log.write(f"audit/{later}{suffix}", audit_log.read(f"audit/{future.name}{suffix}"))
        audit_log.delete(f"audit/{future.name}{suffix}")
    promote(client, start, audit_log, PromotionOrder(reason="second"))
    assert [entry.move.reason for entry in entries(audit_log)] == ["first", "second"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LIDR_ACTOR": "Ada\x1b[0m", "KFP_RUN_ID": "r"}, "Ada\ufffd[0m"),
        ({"KFP_RUN_ID": "run-7", "KFP_POD_NAME": "pod-3"}, "kfp:run-7/pod-3"),
    ],
)
def test_who_it_was(monkeypatch, environment, expected):
    for key in ("LIDR_ACTOR", "KFP_RUN_ID", "KFP_POD_NAME"):
        monkeypatch.delenv(key, raising=False)
    assert "@" in actor()
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert actor() == expected


@pytest.mark.parametrize(
    "change", [{"version": "3"}, {"forced": 1}, {"action": "delete"}, {"before": "2"}]
)
def test_an_audit_entry_that_was_edited_is_named(tmp_path, change):
    folder = open_store(str(tmp_path))
    entry = record(folder, AliasMove("promote", "champion", 3, None))
    key = f"audit/{entry.name}.json"
    text = json.loads(folder.read(key)) | change
    folder.write(key, json.dumps(text).encode())
    with pytest.raises(BadInput) as caught:
        entries(folder)
    assert caught.value.file.endswith(key)


def test_a_file_that_is_no_entry_is_named_and_keeps_nobody_from_writing(tmp_path):
    folder = open_store(str(tmp_path))
    folder.write("audit/notes.json", b"{}")
    record(folder, AliasMove("promote", "champion", 3, None))
    with pytest.raises(BadInput, match=r"notes\.json: not the name of an audit entry"):
        entries(folder)
