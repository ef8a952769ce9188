"""lineage, relocate and prune as a team uses them: PostgreSQL, S3 and MLflow with accounts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

import lidr.pipelines.maintenance.relocate_registry as relocation
from lidr.components.shared.registry.registration import default_audit_log, ensure_version
from lidr.components.shared.registry.versions import read_version
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.runs import note_stages, read_stages, recipe_key
from lidr.components.shared.store.stage import Stage
from lidr.pipelines import cli
from lidr.pipelines.maintenance.prune_findings import PRUNED
from lidr.pipelines.maintenance.relocate_move import StoreMove
from tests.chains import Chain, make_chain
from tests.services.stack import ADMIN, USER, Stack

pytestmark = pytest.mark.slow


NAME = "moving"


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Chain:
    """A run with M_0 to M_3 on this disk; tests copy it to a bucket."""
    return make_chain(str(tmp_path_factory.mktemp("chain") / "store"), 3, name=NAME)


@pytest.fixture
def client(stack: Stack) -> Iterator[MlflowClient]:
    """MLflow, empty at the end: what a test leaves would be another one's models."""
    client = MlflowClient(tracking_uri=stack.mlflow.uri, registry_uri=stack.mlflow.uri)
    before = {found.name for found in client.search_registered_models()}
    yield client
    for found in client.search_registered_models():
        if found.name not in before:
            client.delete_registered_model(found.name)


@pytest.fixture
def old(stack: Stack, request) -> str:
    return _bucket(f"old-{abs(hash(request.node.name)):x}")


@pytest.fixture
def new(stack: Stack, request) -> str:
    return _bucket(f"new-{abs(hash(request.node.name)):x}")


def _bucket(name: str) -> str:
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture
def lidr(monkeypatch, capsys):
    """Call the command line; return exit code, stdout and stderr."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["lidr", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def registered(client: MlflowClient, built: Chain, bucket: str, models: int = 4) -> Chain:
    """Return the run on a store in a bucket, its first models registered, the last as champion."""
    store = open_store(f"{bucket}/lidr")
    move = StoreMove(built.store, store.uri)
    for path in sorted(p for p in Path(built.store).rglob("*") if p.is_file()):
        key, data = path.relative_to(built.store).as_posix(), path.read_bytes()
        pointer = key.startswith("runs/")
        store.write(key, data.replace(move.old.encode(), move.new.encode()) if pointer else data)
    for t in range(models):
        version = built.version(t)
        tags, audit_log = move.of_all(version.tags), default_audit_log(store.uri, NAME)
        ensure_version(client, NAME, move.of(version.source), tags, "", audit_log)
    client.set_registered_model_alias(NAME, "champion", str(models))
    there = Chain(store.uri, built.name, built.run)
    there.rounds = [
        {step: Stage(store, stage.prefix) for step, stage in stages.items()}
        for stages in built.rounds
    ]
    return there


def carry_over(old: str, new: str) -> None:
    """Copy every object to another bucket and delete the first: the store has moved."""
    s3 = boto3.resource("s3")
    source, target = (s3.Bucket(uri.removeprefix("s3://")) for uri in (old, new))
    for item in source.objects.all():
        target.Object(item.key).copy({"Bucket": source.name, "Key": item.key})
    source.objects.all().delete()
    source.delete()


def tags_and_aliases(client: MlflowClient) -> dict:
    found = client.search_model_versions(f"name = '{NAME}'")
    aliases = client.get_registered_model(NAME).aliases
    return {int(v.version): dict(v.tags) for v in found} | {"aliases": dict(aliases)}


def test_lineage_of_the_champion_is_verified_in_the_store(client, built, old, lidr):
    chain = registered(client, built, old)
    code, out, err = lidr("lineage", NAME, "@champion", "--verify")
    assert (code, err) == (0, "")
    assert "moving/4 (champion)" in out
    assert "Every marker and every file is as it was written." in out
    code, out, _ = lidr("lineage", NAME, "1", "--output", "json")
    told = json.loads(out)
    assert [stage["step"] for stage in told["stages"]] == ["prepare", "evaluate"]
    assert (told["runs"], told["verified"]) == (["first"], None)
    for key in (
        chain.rounds[1]["pair"].key("pairs.parquet"),
        chain.model(1).key("_SUCCESS"),
        recipe_key("first"),
    ):
        with flipped(old, f"lidr/{key}"):
            code, out, err = lidr("lineage", NAME, "4", "--verify", "--output", "json")
        told = json.loads(out)
        assert (code, told["verified"]) == (1, False)
        assert f"{chain.store}/{key}" in [finding["uri"] for finding in told["findings"]]
        assert err.count("\n") == 1 and "not as they were written" in err


@contextmanager
def flipped(bucket: str, key: str) -> Iterator[None]:
    """Flip the last bit of an object, its metadata with the digest left as it is."""
    s3 = boto3.client("s3")
    place = {"Bucket": bucket.removeprefix("s3://"), "Key": key}
    found = s3.get_object(**place)
    body = found["Body"].read()
    changed = body[:-1] + bytes([body[-1] ^ 1])
    s3.put_object(**place, Body=changed, Metadata=found["Metadata"])
    yield
    s3.put_object(**place, Body=body, Metadata=found["Metadata"])


def test_versions_load_from_the_bucket_that_the_store_moved_to(
    client, built, old, new, lidr, tmp_path
):
    chain = registered(client, built, old)
    client.delete_model_version(NAME, "2")
    client.update_model_version(NAME, "3", "the one that we like")
    known = tags_and_aliases(client)
    note_stages(open_store(chain.store), "first", 1, [chain.model(1).uri])
    carry_over(old, new)
    arguments = ("relocate", chain.store, f"{new}/lidr")
    code, out, err = lidr(*arguments, "--dry-run", "--verify")
    assert (code, err) == (0, "")
    assert (
        f"3 versions and 5 files of runs would point to {new}/lidr; registered models: {NAME}."
        in out
    )
    assert tags_and_aliases(client) == known
    assert lidr(*arguments, "--verify")[0] == 0
    text = json.dumps(known).replace(old, new)
    assert without(tags_and_aliases(client), "lidr.registered") == readable(text)
    assert client.get_model_version(NAME, "3").description == "the one that we like"
    folder = download_artifacts(f"models:/{NAME}@champion", dst_path=str(tmp_path))
    assert {p.name for p in tmp_path.rglob("*.*")} == {"config.json", "model.safetensors"}, folder
    code, out, err = lidr("lineage", NAME, "@champion", "--verify")
    assert (code, err) == (0, "")
    assert new in out and old not in out
    state = json.loads(open_store(f"{new}/lidr").read("runs/first/iteration-1/state.json"))
    assert state["model"].startswith(f"{new}/lidr/stages/train/")
    assert read_stages(open_store(f"{new}/lidr"), "first", 1)["train"] == state["model"]
    code, out, _ = lidr(*arguments)
    assert (code, out) == (
        0,
        f"0 versions and 0 files of runs point to {new}/lidr; registered models: none.\n",
    )
    made = client.create_model_version(NAME, f"{new}/x", await_creation_for=0)
    assert int(made.version) == 5


def readable(text: str) -> dict:
    return {int(k) if k.isdigit() else k: v for k, v in json.loads(text).items()}


def without(versions: dict, tag: str) -> dict:
    return {
        key: {name: value for name, value in values.items() if name != tag}
        for key, values in versions.items()
    }


class Dying:
    """An MLflow client that dies at the n-th call of a method, before or after it is done."""

    def __init__(self, client: MlflowClient, method: str, number: int, late: bool) -> None:
        self._client, self._method, self._left, self._late = client, method, number, late

    def __getattr__(self, name: str):
        found = getattr(self._client, name)
        if name != self._method:
            return found

        def call(*args, **kwargs):
            self._left -= 1
            if self._left == 0 and not self._late:
                raise KeyboardInterrupt
            result = found(*args, **kwargs)
            if self._left == 0:
                raise KeyboardInterrupt
            return result

        return call


FAULTS = [
    ("create_model_version", 2, False),
    ("rename_registered_model", 1, True),
    ("rename_registered_model", 2, True),
]


def test_a_relocation_may_be_interrupted_and_repeated(client, built, old, new):
    registered(client, built, old, 2)
    move = StoreMove.between(old, new)
    for number, fault in enumerate(FAULTS):
        move = StoreMove.between(*((old, new), (new, old))[number % 2])
        known = json.dumps(tags_and_aliases(client)).replace(move.old, move.new)
        [moving] = relocation.models_to_move(client, move)
        with pytest.raises(KeyboardInterrupt):
            relocation.relocate_model(Dying(client, *fault), moving, move)
        relocation.finish_interrupted(client)
        for left in relocation.models_to_move(client, move):
            relocation.relocate_model(client, left, move)
        after = without(tags_and_aliases(client), "lidr.registered")
        assert after == without(readable(known), "lidr.registered"), fault
        assert [found.name for found in client.search_registered_models()] == [NAME]


def test_accounts_keep_their_permissions_when_an_administrator_relocates(
    client, built, old, new, lidr, monkeypatch
):
    chain = registered(client, built, old, 2)
    carry_over(old, new)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", ADMIN[1])
    assert lidr("relocate", chain.store, f"{new}/lidr")[::2] == (0, "")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", USER[1])
    client.set_model_version_tag(NAME, "1", "mine", "still")


def test_a_model_that_changes_meanwhile_is_left_as_it_was(client, built, old, new):
    registered(client, built, old, 2)
    [moving] = relocation.models_to_move(client, StoreMove.between(old, new))
    client.set_registered_model_alias(NAME, "candidate", "1")
    with pytest.raises(Exception, match="was changed meanwhile"):
        relocation.relocate_model(client, moving, StoreMove.between(old, new))
    assert read_version(client, NAME, "@candidate").source.startswith(old)
    assert [found.name for found in client.search_registered_models()] == [NAME]


def test_prune_removes_old_versions_from_registry_and_store(client, built, old, lidr):
    chain = registered(client, built, old)
    arguments = ("prune", "--store", chain.store, "--keep-last", "1", "--grace", "0")
    code, out, err = lidr(*arguments, "--dry-run", "--output", "json")
    told = json.loads(out)
    assert (code, err, told["dry_run"]) == (0, "", True)
    assert [found["version"] for found in told["versions"]] == [1, 2, 3]
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 4
    before = sum(entry.size for entry in open_store(chain.store).list("stages"))
    code, out, err = lidr(*arguments, "--record", "--dry-run")  # as the CronJob does
    assert (code, out, err.count("\n")) == (0, "", 1)
    assert f"prune would remove 3 versions and {len(told['stages'])} stages" in err
    noted = json.loads(open_store(chain.store).read(PRUNED))
    assert (noted["bytes"], noted["versions"], noted["dry_run"]) == (told["bytes"], 3, True)
    assert sum(entry.size for entry in open_store(chain.store).list("stages")) == before
    code, _, err = lidr(*arguments)
    assert code == 2 and "Give --yes" in err
    s3 = boto3.client("s3")
    upload = {"Bucket": old[5:], "Key": f"lidr/{chain.model(1).key('model/x')}"}
    s3.create_multipart_upload(**upload)
    code, out, err = lidr(*arguments, "--yes")
    assert code == 0
    assert "1 half-written uploads aborted" in err
    after = sum(entry.size for entry in open_store(chain.store).list("stages"))
    records = [e for e in open_store(chain.store).list("stages") if e.key.endswith("_PRUNED")]
    assert before - after == told["bytes"]
    assert len(records) == 8
    [left] = client.search_model_versions(f"name = '{NAME}'")
    assert int(left.version) == 4
    code, out, _ = lidr("lineage", NAME, "@champion", "--verify")
    assert code == 0 and out.count("pruned") == 8
    code, out, _ = lidr(*arguments, "--yes")
    assert (code, out) == (0, "Nothing to remove.\n")
    with pytest.raises(MlflowException):
        client.get_model_version(NAME, "2")


def test_a_version_that_becomes_champion_meanwhile_is_spared(client, built, old, lidr, monkeypatch):
    chain = registered(client, built, old, 2)

    def promote(plan, yes):
        client.set_registered_model_alias(NAME, "champion", "1")

    monkeypatch.setattr("lidr.pipelines.cli.prune._ask", promote)
    arguments = ("prune", "--store", chain.store, "--keep-last", "1", "--grace", "0")
    code, _, err = lidr(*arguments, "--yes")
    assert code == 1 and "moving/1 has become champion since the plan" in err
    assert read_version(client, NAME, "1").source
    assert all(chain.rounds[0][step].done() for step in ("prepare", "evaluate"))


def test_bad_input_is_one_line(client, built, old, new, lidr, tmp_path):
    chain = registered(client, built, old, 2)
    foreign = make_chain(f"{new}/lidr", 1, name="foreign", run="other").store
    gone = str(tmp_path / "gone")
    cases = [
        (["lineage", "nobody", "1"], "has no registered model 'nobody'"),
        (["lineage", NAME, "9"], "has no version 9"),
        (["lineage", NAME, "@best"], "has no alias 'best'. Its aliases are @champion"),
        (["lineage", NAME, "x"], "'x' is no version"),
        (["lineage", NAME, "2", "--store", foreign], "no stage with the model of"),
        (["lineage", NAME, "2", "--store", gone], "no store at"),
        (["prune", "--store", gone, "--keep-last", "1"], "no store at"),
        (["prune", "--store", foreign, "--keep-last", "1", "--yes"], "knows no model"),
        (["relocate", chain.store, f"{chain.store}/x"], "overlap"),
        (["relocate", chain.store, gone], "no store at"),
        (["relocate", chain.store, f"{new}/empty"], "are gone from"),
    ]
    for arguments, message in cases:
        code, out, err = lidr(*arguments)
        assert (code, out) == (2, ""), arguments
        assert err.startswith("lidr: error: ") and err.count("\n") == 1, err
        assert message in err
    assert not (tmp_path / "gone").exists()
