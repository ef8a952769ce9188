"""Relocating registered models: no interruption and no lost lease costs a version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from mlflow import MlflowClient

from lidr.components.shared.core.errors import LidrError, StoreUnavailable, TrackingFailed
from lidr.components.shared.core.retry import RETRY_VARIABLE
from lidr.components.shared.registry.registration import (
    AUDIT_LOG_TAG,
    default_audit_log,
    ensure_model,
    ensure_version,
)
from lidr.components.shared.registry.versions import (
    DIGEST_TAG,
    REGISTERED_TAG,
    all_versions,
    read_version,
)
from lidr.components.shared.store import lease
from lidr.components.shared.store.lease import find_head
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking import client_at
from lidr.pipelines.maintenance.relocate_move import StoreMove
from lidr.pipelines.maintenance.relocate_registry import (
    finish_interrupted,
    models_to_move,
    relocate_model,
)
from tests.moto_server import CREDENTIALS, moto_server
from tests.services.stack import free_port

pytestmark = pytest.mark.slow

OLD, NEW = "m~before", "m~relocating"


@pytest.fixture(scope="module")
def registry(tmp_path_factory) -> MlflowClient:
    return client_at(f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db")


@pytest.fixture
def client(registry) -> Iterator[MlflowClient]:
    """MLflow without a registered model: what a test leaves would be another one's."""
    yield registry
    for name in names(registry):
        registry.delete_registered_model(name)


@pytest.fixture
def move(tmp_path: Path) -> StoreMove:
    return StoreMove.between(str(tmp_path / "old"), str(tmp_path / "new"))


def names(client: MlflowClient) -> list[str]:
    return sorted(found.name for found in client.search_registered_models())


def register(client: MlflowClient, store: str, *digests: str) -> None:
    """Register versions of `m`, whose files nobody reads here."""
    for digest in digests:
        tags, source = {DIGEST_TAG: digest}, f"{store}/stages/train/{digest}/model"
        ensure_version(client, "m", source, tags, "", default_audit_log(store, "m"))


def sources(client: MlflowClient, name: str = "m") -> list[str]:
    return [version.source for version in all_versions(client, name)]


def relocate(client: MlflowClient, move: StoreMove) -> None:
    for moving in models_to_move(client, move):
        relocate_model(client, moving, move)


def between_the_renames(client: MlflowClient, move: StoreMove) -> None:
    """Leave `m` as a relocation does that ends between its two renames."""

    class Ending:
        def __getattr__(self, name: str) -> object:
            return self.rename if name == "rename_registered_model" else getattr(client, name)

        def rename(self, before: str, after: str) -> None:
            client.rename_registered_model(before, after)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        relocate(Ending(), move)
    assert names(client) == [OLD, NEW]


def test_finishing_deletes_nothing_of_a_model_that_was_registered_anew(client, move):
    register(client, move.old, "a", "b")
    between_the_renames(client, move)
    ensure_model(client, "m", default_audit_log(move.new, "m"))  # as any run does
    with pytest.raises(LidrError) as refused:
        finish_interrupted(client)
    assert all(repr(name) in refused.value.message for name in ("m", NEW, OLD))
    assert "\n" not in str(refused.value)
    assert names(client) == ["m", OLD, NEW]
    assert [source.startswith(move.new) for source in sources(client, NEW)] == [True, True]
    client.delete_registered_model("m")  # the remedy
    finish_interrupted(client)
    assert names(client) == ["m"]
    assert [source.startswith(move.new) for source in sources(client)] == [True, True]


def test_finishing_keeps_what_another_relocation_renames_meanwhile(client, move):
    register(client, move.old, "a", "b")

    class Listing:
        """The same registry, in which the other one goes on after the first listing."""

        listings = 0

        def __getattr__(self, name: str) -> object:
            return getattr(client, name)

        def search_registered_models(self, **options: object) -> object:
            found = client.search_registered_models(**options)
            self.listings += 1
            if self.listings == 1:
                between_the_renames(client, move)
            return found

    finish_interrupted(Listing())
    assert names(client) == [OLD, NEW]
    finish_interrupted(client)
    assert names(client) == ["m"]
    assert [source.startswith(move.new) for source in sources(client)] == [True, True]


@pytest.mark.parametrize(
    ("left", "store"),
    [([OLD], "old"), ([OLD, NEW], "new"), (["m", NEW], "old"), (["m", OLD], "new")],
)
def test_finishing_leaves_one_whole_model_under_its_name(client, move, left, store):
    register(client, move.old, "a", "b")
    between_the_renames(client, move)
    if "m" in left:
        client.rename_registered_model(OLD if NEW in left else NEW, "m")
    elif NEW not in left:
        client.delete_registered_model(NEW)
    assert names(client) == left
    finish_interrupted(client)
    assert names(client) == ["m"]
    place = {"old": move.old, "new": move.new}[store]
    assert [source.startswith(place) for source in sources(client)] == [True, True]


def test_finishing_without_mlflow_is_one_line(client, move, monkeypatch):
    register(client, move.old, "a")
    between_the_renames(client, move)
    away = client_at(f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    class Away:
        """A registry whose server goes away after the listing."""

        tracking_uri = away.tracking_uri
        search_registered_models = staticmethod(client.search_registered_models)
        rename_registered_model = staticmethod(away.rename_registered_model)

    with pytest.raises(TrackingFailed, match="does not answer"):
        finish_interrupted(Away())
    assert names(client) == [OLD, NEW]


def test_relocation_that_lost_the_lease_changes_nothing(client, move, monkeypatch):
    register(client, move.old, "a", "b")
    known = sources(client)
    with monkeypatch.context() as patch:
        patch.setattr(lease, "_SAFE_SHARE", 0.0)  # no renewal is ever in time
        with pytest.raises(LidrError, match=r"lease at .* could not be renewed in time"):
            relocate(client, move)
    assert (names(client), sources(client)) == (["m", NEW], known)
    finish_interrupted(client)
    relocate(client, move)
    assert sources(client) == [move.of(source) for source in known]


def test_relocation_holds_the_old_audit_log_s_lease_while_it_renames(client, move):
    register(client, move.old, "a")
    log = open_store(default_audit_log(move.old, "m"))
    held: list[bool] = []

    class Looking:
        def __getattr__(self, name: str) -> object:
            if name == "rename_registered_model":
                held.append(not find_head(log).free)
            return getattr(client, name)

    relocate(Looking(), move)
    assert (held, find_head(log).free) == ([True, True], True)


def test_relocation_waits_for_no_lease_where_the_old_store_is_gone(client, move):
    register(client, move.old, "a")
    Path(move.old).rename(move.new)
    relocate(client, move)
    assert sources(client) == [f"{move.new}/stages/train/a/model"]
    assert not Path(move.old).exists()
    client.delete_registered_model_tag("m", AUDIT_LOG_TAG)
    relocate(client, StoreMove(move.new, move.old))
    assert sources(client) == [f"{move.old}/stages/train/a/model"]


def test_relocation_refuses_where_the_old_store_does_not_answer(client, move, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(RETRY_VARIABLE, "0")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    register(client, move.old, "a")
    client.set_registered_model_tag("m", AUDIT_LOG_TAG, "s3://old/lidr/registry/m")
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        relocate(client, move)
    assert (names(client), sources(client)[0].startswith(move.old)) == (["m"], True)
    with moto_server() as endpoint:  # which answers, and knows no such bucket
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        relocate(client, move)
    assert sources(client)[0].startswith(move.new)


def test_relocated_version_keeps_the_date_of_its_registration(client, move):
    register(client, move.old, "a")
    first = read_version(client, "m", "1").created
    relocate(client, move)
    raw = client.get_model_version("m", "1").creation_timestamp
    assert read_version(client, "m", "1").created == first
    assert raw / 1000 > first.timestamp()
    relocate(client, StoreMove(move.new, move.old))
    assert read_version(client, "m", "1").created == first


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("2020-01-02T03:04:05+00:00", lambda _: datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2020-01-02T03:04:05+02:00", lambda _: datetime(2020, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2020-01-02", lambda made: made),
        ("0001-01-01T00:00:00+02:00", lambda made: made),
        ("long ago", lambda made: made),
    ],
)
def test_registration_date_is_the_tag_s_only_if_that_is_a_moment(
    client, move, tag: str, expected: Callable[[datetime], datetime]
):
    register(client, move.old, "a")
    made = read_version(client, "m", "1").created
    client.set_model_version_tag("m", "1", REGISTERED_TAG, tag)
    assert read_version(client, "m", "1").created == expected(made)


def test_copy_of_a_relocated_version_is_as_old_as_its_own_registration(client, move):
    tags = {DIGEST_TAG: "a", REGISTERED_TAG: "2020-01-02T03:04:05+00:00"}
    ensure_version(client, "m", f"{move.new}/a", tags, "", default_audit_log(move.new, "m"))
    version = read_version(client, "m", "1")
    assert (dict(version.tags), version.created.year > 2020) == ({DIGEST_TAG: "a"}, True)
