"""What every store promises, on a local folder and on a real S3 server."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.store.base import Entry, Store
from lidr.components.shared.store.open import open_store


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path) -> Store:
    if request.param == "local":
        return open_store(str(tmp_path / "store"))
    return open_store(f"s3://{request.getfixturevalue('bucket')}/some/prefix")


def test_what_is_written_is_read(store):
    store.write("a/b.bin", bytes(range(256)))
    assert store.read("a/b.bin") == bytes(range(256))
    assert store.exists("a/b.bin")


def test_a_second_write_replaces(store):
    store.write("a", b"first, and longer")
    store.write("a", b"second")
    assert store.read("a") == b"second"


def test_empty_objects_exist(store):
    store.write("empty", b"")
    assert store.exists("empty")
    assert store.read("empty") == b""
    assert store.list("") == [Entry("empty", 0)]


def test_what_is_not_there_is_missing(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.read("none")
    with pytest.raises(FileNotFoundError):
        store.download("none", tmp_path / "copy")
    assert not store.exists("none")
    assert not (tmp_path / "copy").exists()
    assert store.list("none") == []


def test_a_folder_is_no_object(store):
    store.write("a/b", b"")
    assert not store.exists("a")


def test_listing_is_sorted_with_sizes_and_ends_at_folder_names(store):
    for number, key in enumerate(["a/2", "a/10", "ab/1", "a/c/d", "z"]):
        store.write(key, b"x" * number)
    assert store.list("a") == [Entry("a/10", 1), Entry("a/2", 0), Entry("a/c/d", 3)]
    assert [entry.key for entry in store.list("")] == ["a/10", "a/2", "a/c/d", "ab/1", "z"]


def test_deleting_twice_is_no_error(store):
    store.write("a", b"")
    store.delete("a")
    store.delete("a")
    assert not store.exists("a")


@pytest.mark.parametrize("key", ["plain", "with space", "ünïcödé/漢字", "plus+%41?&#", "a.b-c_d"])
def test_names_are_kept(store, key):
    store.write(key, key.encode())
    assert store.read(key) == key.encode()
    assert [entry.key for entry in store.list("")] == [key]


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../x", "a/..", "nul\0"])
def test_keys_cannot_leave_the_store(store, key, tmp_path):
    for attempt in (
        lambda: store.read(key),
        lambda: store.write(key, b""),
        lambda: store.create(key, b""),
        lambda: store.exists(key),
        lambda: store.list(key),
        lambda: store.delete(key),
        lambda: store.download(key, tmp_path / "copy"),
    ):
        with pytest.raises(StoreError, match=r"^key .* Use plain relative names\.$"):
            attempt()


def test_files_are_uploaded_and_downloaded(store, tmp_path):
    (tmp_path / "source").write_bytes(b"\0binary\xff" * 1000)
    store.upload(tmp_path / "source", "deep/file")
    store.download("deep/file", tmp_path / "made" / "here" / "copy")
    assert (tmp_path / "made/here/copy").read_bytes() == b"\0binary\xff" * 1000
    assert [p.name for p in (tmp_path / "made/here").iterdir()] == ["copy"]


def test_a_download_replaces_the_old_file(store, tmp_path):
    (tmp_path / "copy").write_bytes(b"old")
    store.write("a", b"new")
    store.download("a", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"new"


def test_create_never_replaces(store):
    assert store.create("lock", b"first")
    assert not store.create("lock", b"second")
    assert store.read("lock") == b"first"
    store.delete("lock")
    assert store.create("lock", b"third")


def test_of_sixteen_creators_one_wins(store):
    start = Barrier(16)

    def take(number: int) -> bool:
        start.wait()
        return store.create("lock", str(number).encode())

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(take, range(16)))
    assert sum(won) == 1
    assert store.read("lock") == str(won.index(True)).encode()
    assert [entry.key for entry in store.list("")] == ["lock"]


def test_readers_see_old_or_new_bytes_but_nothing_between(store):
    versions = [bytes([number]) * 200_000 for number in range(4)]
    store.write("a", versions[0])
    with ThreadPoolExecutor(4) as pool:
        writing = pool.submit(lambda: [store.write("a", data) for data in versions * 5])
        while not writing.done():
            assert store.read("a") in versions
        writing.result()


def test_two_stores_at_one_address_see_the_same(store):
    store.write("a", b"x")
    other = open_store(store.uri + "/")
    assert other.read("a") == b"x"
    assert other.uri == store.uri


def test_the_digest_of_an_object_is_of_its_bytes_as_they_are(store, monkeypatch):
    monkeypatch.setattr("lidr.components.shared.store.s3._PIECE_BYTES", 100)
    for data in (b"", b"x" * 100, bytes(range(256)) * 3):
        store.write("a", data)
        assert store.sha256("a") == hashlib.sha256(data).hexdigest()
    with pytest.raises(FileNotFoundError):
        store.sha256("none")


def test_a_listing_says_when_objects_were_written(store):
    before = time.time()
    store.write("a", b"")
    [entry] = store.list("")
    assert before - 2 < entry.modified < time.time() + 2
