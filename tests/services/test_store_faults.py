"""The S3 store on a real server behind a network that fails."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lidr.components.shared.core import retry
from lidr.components.shared.core.errors import DamagedObject, StoreError
from lidr.components.shared.core.events import listening
from lidr.components.shared.records.parquet import to_parquet
from lidr.components.shared.records.schema import Response
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.s3 import S3Store
from lidr.components.shared.store.stage import new_stage
from tests.services.faulty import FAULTS, STALL, FaultyProxy


@pytest.fixture
def proxy(bucket: str, s3_server: str, monkeypatch) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3_server)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    yield proxy
    proxy.close()


@pytest.mark.slow
def test_everything_arrives_whole_through_every_fault(proxy, bucket, tmp_path):
    store = open_store(f"s3://{bucket}/faults")
    written = {f"stages/x/{n:03}": hashlib.sha256(str(n).encode()).digest() * 99 for n in range(40)}
    for key, data in written.items():
        store.write(key, data)
    assert {key: store.read(key) for key in written} == written
    assert {entry.key for entry in store.list("stages")} == set(written)
    for key in written:
        store.download(key, tmp_path / key)
        assert (tmp_path / key).read_bytes() == written[key]
    assert set(proxy.met) == set(FAULTS), proxy.met


@pytest.mark.slow
def test_whoever_wrote_an_object_is_told_so_even_when_the_answer_is_lost(proxy, bucket):
    proxy.faults = ("lost answer", "503")
    proxy.rate = 0.6
    store = open_store(f"s3://{bucket}/create")
    assert all(store.create(f"key-{n}", b"mine %d" % n) for n in range(20))
    assert not any(store.create(f"key-{n}", b"another's") for n in range(20))
    assert [store.read(f"key-{n}") for n in range(20)] == [b"mine %d" % n for n in range(20)]
    assert proxy.met["lost answer"] > 3


def test_two_workers_on_a_chunk_leave_the_first_one_s(bucket):
    rows = [Response("a", "en", text, "stop", 1, 1, "en") for text in ("first", "second")]
    stages = [new_stage(open_store(f"s3://{bucket}/two"), "generate", 1, {}, {}) for _ in range(2)]
    for stage, row in zip(stages, rows, strict=True):
        stage.create("responses/en/00000.parquet", to_parquet([row], Response))
    for stage in stages:
        assert stage.peek_records("responses/en/00000.parquet", Response) == rows[:1]


@pytest.fixture
def calm(proxy, bucket, monkeypatch) -> S3Store:
    """A store behind the proxy, which does nothing yet; its pauses are short."""
    proxy.rate = 0.0
    monkeypatch.setattr(retry, "REPORT_SECONDS", 0.3)
    monkeypatch.setattr(retry, "_MAX_PAUSE", 0.1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return S3Store(f"s3://{bucket}/calm", seconds=60)


def after(seconds: float, action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, action)
    timer.start()
    return timer


def test_a_store_in_trouble_is_waited_for_and_the_wait_reported(proxy, calm, tmp_path):
    big = tmp_path / "big"
    big.write_bytes(b"x" * 100_000)
    calm.write("there", b"before")
    requests: dict[str, Callable[[], object]] = {
        "write": lambda: calm.write("a", b"written"),
        "create": lambda: calm.create("b", b"made"),
        "read": lambda: calm.read("there"),
        "exists": lambda: calm.exists("there"),
        "list": lambda: len(calm.list("there")),
        "sha256": lambda: len(calm.sha256("there")),
        "upload": lambda: calm.upload(big, "c"),
        "download": lambda: calm.download("there", tmp_path / "copy"),
        "delete": lambda: calm.delete("gone"),
        "open": lambda: S3Store(calm.uri, seconds=60).uri,
    }
    for name, request in requests.items():
        heard: list[dict[str, object]] = []
        proxy.outage = (500, "InternalError")
        timer = after(0.6, lambda: setattr(proxy, "outage", None))
        with listening(heard.append):
            request()
        timer.join()
        warning, note = [str(event["message"]) for event in heard]
        told = f"the object store at {proxy.endpoint} answers "
        assert warning.startswith(told), name
        assert "500" in warning.removeprefix(told), "a HEAD has no other code"
        assert "asking again for up to 60 s" in warning
        assert "answers again" in note, name
    assert calm.read("a") == b"written"
    assert calm.read("b") == b"made"
    assert (tmp_path / "copy").read_bytes() == b"before"


def test_a_store_that_stalls_is_reported_while_it_does(proxy, calm):
    heard: list[dict[str, object]] = []
    proxy.faults, proxy.rate, proxy.stall_seconds = (STALL,), 1.0, 1.0
    with listening(heard.append):
        assert calm.create("slow", b"mine"), "nobody else was there"
    expected = f"the object store at {proxy.endpoint} has not answered for 0.3 s"
    assert str(heard[0]["message"]).startswith(expected)
    assert proxy.met[STALL] == 1


def test_a_store_that_stays_in_trouble_is_given_up_with_a_fitting_remedy(proxy, calm):
    calm._seconds = 0.3
    proxy.outage = (500, "InternalError")
    with pytest.raises(StoreError, match="Look at its log, its load and its free disk") as caught:
        calm.write("a", b"")
    assert "credentials" not in str(caught.value)


def test_a_part_that_fails_is_sent_again_and_not_the_whole_file(proxy, bucket, calm, tmp_path):
    part = 5 << 20
    store = S3Store(calm.uri, part_bytes=part, seconds=60)
    file, copy = tmp_path / "file", tmp_path / "copy"
    file.write_bytes(b"".join(bytes([n]) * part for n in range(8)))
    requests: list[str] = []
    proxy.refuses = lambda method, path: bool(requests.append(f"{method} {path}"))
    proxy.faults, proxy.rate, proxy.in_a_row = ("503",), 0.6, True
    store.upload(file, "kept/large")
    assert proxy.met["503"] > 4
    assert len(requests) < 60, "the file was begun once"
    proxy.rate = 0.0
    assert store.sha256("kept/large") == hashlib.sha256(file.read_bytes()).hexdigest()
    requests.clear()
    proxy.rate = 0.6
    store.download("kept/large", copy)
    assert copy.read_bytes() == file.read_bytes()
    assert len(requests) < 60, "here, too"


def test_a_page_that_fails_is_asked_for_again_and_not_the_whole_listing(proxy, calm):
    names = [f"listed/{n:02}" for n in range(24)]
    for name in names:
        calm.write(name, b"")
    smaller = lambda params, **_: {**params, "MaxKeys": 2}  # noqa: E731
    calm._client.meta.events.register("provide-client-params.s3.ListObjectsV2", smaller)
    proxy.faults, proxy.rate, proxy.in_a_row = ("503",), 0.6, True
    assert [entry.key for entry in calm.list("listed")] == names
    assert 5 < proxy.met["503"] < 60


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (403, "InvalidAccessKeyId")])
def test_a_store_that_refuses_is_not_asked_again(proxy, calm, status, code):
    proxy.outage = (status, code)
    began = time.monotonic()
    with pytest.raises(StoreError, match=f"{code}.*Check the bucket's name"):
        calm.write("a", b"")
    assert time.monotonic() - began < 5


def test_a_store_that_restarts_loses_no_object(proxy, calm):
    calm.write("there", b"before")
    proxy.outage = (404, "NoSuchBucket")
    timer = after(0.6, lambda: setattr(proxy, "outage", None))
    assert calm.exists("there")
    timer.join()
    proxy.outage = (404, "NoSuchBucket")
    timer = after(0.6, lambda: setattr(proxy, "outage", None))
    assert calm.read("there") == b"before"
    timer.join()


def test_an_object_that_arrives_damaged_is_read_once_more(calm, monkeypatch, tmp_path):
    calm.write("a", b"right")
    sums = iter(["wrong", "right", "wrong", "wrong"])
    real = calm._verify
    monkeypatch.setattr(
        calm, "_verify", lambda key, meta, sha: real(key, meta, {"right": sha}.get(next(sums), ""))
    )
    assert calm.read("a") == b"right"
    with pytest.raises(DamagedObject, match="does not have the bytes that were written"):
        calm.download("a", tmp_path / "copy")
    assert next(sums, None) is None
