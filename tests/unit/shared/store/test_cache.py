from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.core.events import listening
from lidr.components.shared.store import cache
from lidr.components.shared.store.cache import cached, locked, scratch_folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "_held", {})
    return tmp_path / "models"


def file_of(size: int):
    def fill(folder: Path) -> None:
        (folder / "weights").write_bytes(b"x" * size)

    return fill


def forget() -> None:
    """Do as a process that ends: let go of every lock."""
    for handle in cache._held.values():
        os.close(handle)
    cache._held.clear()


def test_a_folder_is_filled_once(place):
    assert cached("a", file_of(3)) == place / "a"

    def never(folder: Path) -> None:
        raise AssertionError

    assert (cached("a", never) / "weights").read_bytes() == b"xxx"
    forget()
    assert cached("a", never) == place / "a"


def test_what_could_not_be_filled_leaves_nothing(place):
    def fails(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("the network is down")

    with pytest.raises(OSError, match="network"):
        cached("a", fails)
    assert [path.name for path in place.iterdir()] == ["a.lock"]
    assert cached("a", file_of(1)).is_dir()


def test_the_least_recently_used_go_first_and_those_in_use_stay(place, monkeypatch):
    monkeypatch.setenv("LIDR_CACHE_GIB", str(250 / (1 << 30)))
    for name in ("old", "used"):
        cached(name, file_of(100))
        forget()
        time.sleep(0.02)
    cached("old", file_of(100))
    forget()
    time.sleep(0.02)
    cached("new", file_of(100))
    assert sorted(path.name for path in place.iterdir() if path.is_dir()) == ["new", "old"]
    cached("more", file_of(200))
    left = sorted(path.name for path in place.iterdir() if path.is_dir())
    assert left == ["more", "new"], "new is in use, old was not"


@pytest.mark.parametrize("use", ["cached", "locked"])
def test_a_folder_that_cannot_be_one_is_named_with_its_variable(tmp_path, monkeypatch, use):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIDR_CACHE", str(tmp_path / "file"))
    with pytest.raises(StoreError, match=r"Not a directory\. Set LIDR_CACHE to a folder"):
        if use == "cached":
            cached("digest", lambda folder: None)
        with locked(scratch_folder() / "x"):
            pass


def test_a_bound_that_is_no_number_is_refused_before_anything_is_fetched(monkeypatch):
    monkeypatch.setenv("LIDR_CACHE_GIB", "many")
    with pytest.raises(BadInput, match="'many', not a number"):
        cached("a", lambda folder: pytest.fail("fetched"))


def test_a_process_killed_while_it_evicts_leaves_no_half_model(place, monkeypatch):
    monkeypatch.setenv("LIDR_CACHE_GIB", str(150 / (1 << 30)))
    cached("a", file_of(100))
    forget()
    remove = shutil.rmtree

    def killed(folder: Path, **_: bool) -> None:
        if (folder / "weights").exists():
            (folder / "weights").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(cache.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        cached("b", file_of(100))
    monkeypatch.setattr(cache.shutil, "rmtree", remove)
    forget()
    assert (cached("a", file_of(100)) / "weights").stat().st_size == 100


def test_a_disk_without_locks_is_named_with_its_variable(monkeypatch):
    def no_locks(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(cache.fcntl, "flock", no_locks)
    with pytest.raises(StoreError, match="Set LIDR_CACHE to a folder on a local disk"):
        cached("a", file_of(1))


def test_a_wait_for_another_process_is_reported(place, monkeypatch):
    monkeypatch.setattr("lidr.components.shared.core.retry.REPORT_SECONDS", 0.1)
    place.mkdir()
    heard: list[dict[str, object]] = []
    with (place / "a.lock").open("a") as other, listening(heard.append):
        fcntl.flock(other, fcntl.LOCK_EX)
        threading.Timer(0.4, fcntl.flock, (other, fcntl.LOCK_UN)).start()
        cached("a", file_of(1))
    assert "another process on this node" in str(heard[0]["message"])


def test_of_many_processes_one_fetches(place):
    code = (
        "import pathlib, sys, time\n"
        "from lidr.components.shared.store.cache import cached\n"
        "def fill(folder):\n"
        "    time.sleep(0.3)\n"
        "    (folder / 'weights').touch()\n"
        "    print('fetched')\n"
        "assert (cached('a', fill) / 'weights').is_file()\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    printed = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert sorted(printed) == ["", "", "", "fetched\n"]


def test_a_folder_that_somebody_deleted_is_filled_again(place):
    folder = cached("a", file_of(1))
    (folder / "weights").unlink()
    folder.rmdir()
    assert (cached("a", file_of(2)) / "weights").stat().st_size == 2


def test_what_a_killed_process_left_is_evicted_or_filled_over(place, monkeypatch):
    place.mkdir(parents=True)
    for digest in ("left", "again"):
        left = place / f"{cache._TEMPORARY}{digest}"
        left.mkdir()
        (left / "half").write_bytes(b"x" * 1000)
        (place / f"{digest}.lock").touch()
    monkeypatch.setenv("LIDR_CACHE_GIB", str(500 / 2**30))
    assert [each.name for each in cached("again", file_of(100)).iterdir()] == ["weights"]
    assert not list(place.glob(f"{cache._TEMPORARY}*"))


def test_a_limit_that_is_no_size_is_refused(monkeypatch):
    monkeypatch.setenv("LIDR_CACHE_GIB", "nan")
    with pytest.raises(BadInput, match="LIDR_CACHE_GIB is 'nan'"):
        cached("a", file_of(1))
