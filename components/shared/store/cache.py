"""The node's cache of model files: one folder per model, with a limit on the total size.

LIDR_CACHE names its folder (default `~/.cache/lidr`), LIDR_CACHE_GIB its limit (default none). A
model's folder appears and disappears whole. The limit is enforced after a folder was filled, by
removing folders that nobody uses: the disk needs room for one model more. A process holds a shared
lock on each folder it uses until it ends, so that nobody removes the folder meanwhile. Filling a
folder takes an exclusive lock, so that a model is fetched once however many workers start on a
node.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

from lidr.components.shared.core.errors import BadInput, StoreError
from lidr.components.shared.core.retry import report_wait
from lidr.components.shared.store.base import cache_folder, wrap_os_errors

_GIB = 1 << 30
_TEMPORARY = ".tmp-"
"""Prefix of a folder that is being filled, under its model's exclusive lock."""

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What a disk without file locks answers."""

_filling: defaultdict[Path, Lock] = defaultdict(Lock)
"""A lock among this process's threads for each folder: the disk may have no file locks."""

_held: dict[Path, int] = {}
"""File descriptors of the locks that this process holds until it ends, by lock file."""


def cached(digest: str, fill: Callable[[Path], None]) -> Path:
    """Return the cache folder of a digest; fill it first if it does not exist.

    Args:
        digest: identifies the files in the folder.
        fill: writes the files into a given folder.

    Raises:
        BadInput: LIDR_CACHE_GIB is not a number, or below 0.
        StoreError: the cache cannot be written.
    """
    _limit_bytes()  # refused before anything is fetched
    root = cache_folder() / "models"
    folder, lock = root / digest, root / f"{digest}.lock"
    if lock in _held and folder.is_dir():
        return folder
    if (stale := _held.pop(lock, None)) is not None:  # somebody has deleted the folder
        os.close(stale)
    with wrap_os_errors(root, local_copy=True):
        root.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock(handle, fcntl.LOCK_SH)
        while not folder.is_dir():
            _lock(handle, fcntl.LOCK_EX)
            if not folder.is_dir():
                _fill(folder, fill)
            _lock(handle, fcntl.LOCK_SH)  # the folder may have been evicted in between
    except BaseException:
        os.close(handle)
        raise
    _held[lock] = handle
    os.utime(lock)
    _evict(root)
    return folder


def scratch_folder() -> Path:
    """Return the folder for files on their way from one place to another."""
    return cache_folder() / "fetch"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other threads and processes of this machine out of a folder that a block fills.

    On a disk without file locks only threads are kept out. An empty file `<folder>.lock` stays
    beside the folder.

    Raises:
        StoreError: its parent cannot be written.
    """
    path = folder.with_name(f"{folder.name}.lock")
    with wrap_os_errors(path, local_copy=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("a")
    with lock, _filling[folder]:
        try:
            with report_wait(f"waiting for another process on this machine that fills {folder}"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        yield


def _lock(handle: int, kind: int) -> None:
    waiting = "waiting for another process on this node to release the model's folder in the cache"
    with report_wait(waiting), _lock_errors():
        fcntl.flock(handle, kind)


@contextlib.contextmanager
def _lock_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise StoreError(
            f"{cache_folder()} has no file locks: {os.strerror(error.errno)}",
            remedy="Set LIDR_CACHE to a folder on a local disk.",
        ) from error


def _fill(folder: Path, fill: Callable[[Path], None]) -> None:
    temporary = folder.with_name(f"{_TEMPORARY}{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
    with wrap_os_errors(temporary, local_copy=True):
        temporary.mkdir()
    try:
        fill(temporary)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _evict(root: Path) -> None:
    """Remove unused folders, least recently used first, until the cache is within its limit."""
    limit = _limit_bytes()
    if limit is None:
        return
    path = root / ".evict.lock"
    with wrap_os_errors(path, local_copy=True):
        lock = path.open("a")
    with lock as evicting, _lock_errors():  # one process at a time
        fcntl.flock(evicting, fcntl.LOCK_EX)
        _evict_to(root, limit)


def _evict_to(root: Path, limit: float) -> None:
    sizes = {path: _size(path) for path in root.iterdir() if path.is_dir()}
    locks = {p: p.with_name(f"{p.name.removeprefix(_TEMPORARY)}.lock") for p in sizes}
    known = [path for path in sizes if locks[path].is_file()]
    for folder in sorted(known, key=lambda path: locks[path].stat().st_mtime):
        if sum(sizes.values()) <= limit:
            return
        with locks[folder].open("a") as handle, contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(folder)
            if not folder.exists():
                del sizes[folder]


def _remove(folder: Path) -> None:
    """Remove a folder whose lock is held; a process killed meanwhile leaves no half model."""
    if not folder.name.startswith(_TEMPORARY):
        temporary = folder.with_name(f"{_TEMPORARY}{folder.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            folder = folder.rename(temporary)
        except OSError:  # somebody else's: it stays
            return
    shutil.rmtree(folder, ignore_errors=True)


def _limit_bytes() -> float | None:
    given = os.environ.get("LIDR_CACHE_GIB")
    if not given:
        return None
    with contextlib.suppress(ValueError):
        if (limit := float(given)) >= 0:  # NaN is not
            return limit * _GIB
    raise BadInput(
        f"LIDR_CACHE_GIB is {given!r}, not a number from 0 on", remedy="Give it in GiB, e.g. 200."
    )


def _size(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it is being filled
                size += os.stat(os.path.join(parent, name)).st_size  # noqa: PTH116, PTH118
    return size
