"""The S3 store on a real server behind a network that fails."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from components.shared.records import Response
from components.shared.stage import new_stage
from components.shared.store import open_store
from tests.services.faulty import FAULTS, FaultyProxy


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
        stage.create_records("responses/en/00000.parquet", [row], Response)
    for stage in stages:
        assert stage.peek_records("responses/en/00000.parquet", Response) == rows[:1]
