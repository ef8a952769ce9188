from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import StoreError, StoreUnavailable
from lidr.components.shared.store.deletion import delete_all
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import open_store
from tests.disks import small_disk

NOBODY = 65534

WRITER = """
import os, sys
from pathlib import Path
from lidr.components.shared.store.local import LocalStore

def stop(handle):
    print("written", flush=True)
    sys.stdin.read()

os.fsync = stop
LocalStore(Path(sys.argv[1])).write("a/b", b"new" * 100000)
"""


@contextmanager
def unprivileged() -> Iterator[None]:
    """Nobody's permissions, for root bypasses them; other users have their own already."""
    if os.geteuid():
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder that everyone can read and nobody (but root) can write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "inner").mkdir()
        (folder / "file").write_bytes(b"old")
        folder.chmod(0o755)
        (folder / "inner").chmod(0o555)
        yield folder / "inner"


def files_below(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_writer_killed_in_the_middle_leaves_the_old_bytes(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.write("a/b", b"old")
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout.readline() == b"written\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert store.read("a/b") == b"old"
    assert [entry.key for entry in store.list("")] == ["a/b"]


def test_a_full_disk_is_explained_and_leaves_nothing_half_written():
    with small_disk("256k") as folder:
        store = LocalStore(folder)
        store.write("kept", b"old")
        for attempt in (store.write, store.create):
            with pytest.raises(StoreError, match=r"No space left.*Free some space") as caught:
                attempt("big", b"x" * (1 << 20))
            assert caught.value.exit_code == 2
        with pytest.raises(StoreError, match="No space left"):
            store.write("kept", b"y" * (1 << 20))
        assert store.read("kept") == b"old"
        assert files_below(folder) == ["kept"]


def test_a_full_disk_stops_uploads_and_downloads_too(tmp_path):
    big = tmp_path / "big"
    big.write_bytes(b"x" * (1 << 20))
    roomy = LocalStore(tmp_path / "roomy")
    roomy.upload(big, "big")
    with small_disk("256k") as folder:
        with pytest.raises(StoreError, match="No space left"):
            LocalStore(folder).upload(big, "big")
        with pytest.raises(StoreError, match="No space left"):
            roomy.download("big", folder / "copy")
        assert files_below(folder) == []


def test_a_read_only_disk_is_explained():
    with small_disk("256k") as folder:
        store = LocalStore(folder)
        remount = ["mount", "-o", "remount,ro", str(folder)]
        assert subprocess.run(remount, check=False).returncode == 0
        with pytest.raises(StoreError, match=r"Read-only file system.*choose another --store"):
            store.write("key", b"data")


def test_a_folder_without_write_permission_is_refused_at_once(locked_folder):
    with unprivileged(), pytest.raises(StoreError, match=r"Permission denied.*write permission"):
        LocalStore(locked_folder)


def test_a_folder_that_loses_its_permission_later_is_explained(locked_folder):
    locked_folder.chmod(0o777)
    with unprivileged():
        store = LocalStore(locked_folder)
    locked_folder.chmod(0o555)
    with unprivileged(), pytest.raises(StoreError, match=r"Permission denied.*write permission"):
        store.write("key", b"data")
    assert files_below(locked_folder) == []


def test_a_file_where_a_folder_should_be_is_explained(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="A part of the path is a file"):
        LocalStore(tmp_path / "file" / "store")


def test_a_folder_where_an_object_should_be_is_no_object_and_in_the_way_of_one(tmp_path):
    store = LocalStore(tmp_path / "store")
    store.write("a/b", b"data")
    assert not store.exists("a")
    for ask in (store.read, store.sha256, lambda key: store.download(key, tmp_path / "copy")):
        with pytest.raises(FileNotFoundError, match=r"it is a folder: .*/store/a"):
            ask("a")
    for change in (lambda: store.write("a", b""), lambda: store.delete("a")):
        with pytest.raises(StoreError, match=r"cannot use the store at .*/a: .*move it away"):
            change()
    assert files_below(tmp_path) == ["b"]


def test_other_failures_of_the_system_are_not_dressed_up(tmp_path, monkeypatch):
    store = LocalStore(tmp_path)

    def broken(_: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Bad file descriptor"):
        store.write("key", b"data")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize(
    "code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ESHUTDOWN, errno.ECONNREFUSED]
)
def test_a_mount_whose_server_is_away_is_unavailable(tmp_path, monkeypatch, code: int):
    store = LocalStore(tmp_path)
    store.write("key", b"data")

    def broken(_: Path) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(StoreUnavailable, match=r"cannot use the store at .*the mount"):
        store.read("key")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_for_copies_that_is_full_is_not_the_store_s_fault(tmp_path, monkeypatch, code: int):
    store = LocalStore(tmp_path / "store")
    store.write("key", b"data")

    def broken(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "replace", broken)
    copy = tmp_path / "copies" / "key"
    for variable, place in (("TMPDIR", tmp_path.parent), ("LIDR_CACHE", tmp_path / "copies")):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path.parent))
        monkeypatch.setenv("LIDR_CACHE", str(place if variable == "LIDR_CACHE" else "/elsewhere"))
        with pytest.raises(StoreError, match=rf"cannot write to .*/copies/key.* [sS]et {variable}"):
            store.download("key", copy)
    monkeypatch.setattr(tempfile, "tempdir", "/another")
    monkeypatch.setenv("LIDR_CACHE", "/elsewhere")
    with pytest.raises(StoreError, match=r"cannot write to .*/copies/key.* [cC]hoose"):
        store.download("key", copy)
    assert files_below(tmp_path / "copies") == []


def test_a_missing_object_leaves_no_folder_for_its_copy(tmp_path):
    with pytest.raises(FileNotFoundError):
        LocalStore(tmp_path / "store").download("key", tmp_path / "copies" / "key")
    assert not (tmp_path / "copies").exists()


def test_a_copy_is_whole(tmp_path):
    store, data = LocalStore(tmp_path / "store"), os.urandom(9 << 20)
    store.write("key", data)
    store.download("key", tmp_path / "copies" / "key")
    assert (tmp_path / "copies" / "key").read_bytes() == data
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["key"]


def test_many_objects_are_deleted(tmp_path):
    store = LocalStore(tmp_path)
    for number in range(40):
        store.write(f"a/{number}", b"")
    store.write("b", b"")
    delete_all(store, [entry.key for entry in store.list("a")])
    assert [entry.key for entry in store.list("")] == ["b"]


def test_files_get_the_user_s_own_mode(tmp_path):
    old = os.umask(0o027)
    try:
        store = LocalStore(tmp_path)
        store.write("written", b"")
        store.create("created", b"")
    finally:
        os.umask(old)
    modes = {p.name: p.stat().st_mode & 0o777 for p in tmp_path.iterdir()}
    assert modes == {"written": 0o640, "created": 0o640}


def test_a_folder_may_be_given_as_file_uri(tmp_path):
    assert open_store(f"file://{tmp_path}/s").uri == str(tmp_path / "s")


@pytest.mark.parametrize("uri", ["http://host/x", "gs://bucket/x", "hf://org/name"])
def test_an_unknown_scheme_is_refused(uri):
    with pytest.raises(StoreError, match="unknown scheme"):
        open_store(uri)


def test_keys_of_a_relative_store_do_not_move_with_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("here")
    monkeypatch.chdir("/")
    store.write("key", b"data")
    assert (tmp_path / "here" / "key").read_bytes() == b"data"


@pytest.mark.parametrize(
    ("root", "words"), [("/proc/x", "Permission denied"), ("x" * 300, "File name too long")]
)
def test_a_place_that_takes_no_folder_is_refused_in_words(root, words, tmp_path):
    with pytest.raises(StoreError, match=f"{words}.*--store"):
        LocalStore(tmp_path / root)
