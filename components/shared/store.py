"""The store: a local folder or an `s3://` prefix, with the same few atomic operations."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from components.shared.digest import digest_of_file
from components.shared.errors import StoreError
from components.shared.names import key_fault

_TEMPORARY = ".tmp-"


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing.

    Attributes:
        key: below the store.
        size: in bytes.
        modified: when it was written, in seconds since 1970.
    """

    key: str
    size: int
    modified: float = field(default=0.0, compare=False)


class Store(Protocol):
    """What steps need of a store. Keys are relative names with `/` (components/shared/names.py).

    Every method raises StoreError for a full, read-only or unreachable store, and for a key that
    leads out of it.
    """

    uri: str

    def read(self, key: str) -> bytes:
        """Return an object's bytes; FileNotFoundError where there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object; readers see the old bytes or all of the new ones."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object only where none exists; False if another writer was first.

        Of two writers of the same bytes both may be told True: who competes writes its own name.
        """

    def exists(self, key: str) -> bool:
        """Tell whether the object exists."""

    def list(self, prefix: str) -> list[Entry]:
        """Return every object below a prefix (a folder, without the final `/`), by key."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file into the store, as `write` does, without holding it in memory."""

    def download(self, key: str, path: Path) -> None:
        """Copy an object into a file, which appears whole or not at all."""

    def sha256(self, key: str) -> str:
        """Return the digest of an object's bytes as they are now, read piece by piece."""

    def abort_uploads(self, prefix: str, before: float) -> int:
        """Remove what writers that died left half-written below a prefix; return how many.

        Args:
            prefix: a folder, without the final `/`.
            before: seconds since 1970; what was begun later may still have its writer.
        """


def open_store(uri: str) -> Store:
    """Open the store at a folder or `s3://bucket/prefix`.

    Raises:
        StoreError: the scheme is unknown, or the folder cannot be made or written.
    """
    if uri.startswith("s3://"):
        from components.shared.store_s3 import S3Store

        return S3Store(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise StoreError(
            f"store {uri!r} has an unknown scheme", remedy="Use a folder or s3://bucket/prefix."
        )
    return LocalStore(Path(uri.removeprefix("file://")))


class LocalStore:
    """A folder. Writes go to a temporary name in the same folder, are flushed and renamed."""

    def __init__(self, root: Path) -> None:
        if "\0" in str(root):
            raise StoreError(f"{str(root)!r} is no folder's name", remedy="Correct --store.")
        self.root = root.absolute()
        self.uri = str(self.root)
        with explained(self.root):
            _make_folder(self.root)
            self._real = Path(os.path.realpath(self.root))
            if not os.access(self.root, os.W_OK | os.X_OK):
                fixed = os.statvfs(self.root).f_flag & os.ST_RDONLY
                code = errno.EROFS if fixed else errno.EACCES
                raise OSError(code, os.strerror(code), str(self.root))

    def read(self, key: str) -> bytes:
        path = self.path(key)
        with explained(path):
            return path.read_bytes()

    def write(self, key: str, data: bytes) -> None:
        with self._replacing(key) as temporary:
            temporary.write_bytes(data)

    def create(self, key: str, data: bytes) -> bool:
        path = self.path(key)
        with explained(path), self._temporary(path) as temporary:
            temporary.write_bytes(data)
            _flush(temporary)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        return True

    def exists(self, key: str) -> bool:
        path = self.path(key)
        with explained(path):
            return path.is_file()

    def list(self, prefix: str) -> list[Entry]:
        folder = self.path(prefix) if prefix else self.root
        entries = []
        for path in folder.rglob("*"):
            if path.name.startswith(_TEMPORARY):
                continue
            with contextlib.suppress(FileNotFoundError):  # another process has just removed it
                status = path.stat()
                if stat.S_ISREG(status.st_mode):
                    key = path.relative_to(self.root).as_posix()
                    entries.append(Entry(key, status.st_size, status.st_mtime))
        return sorted(entries, key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        path = self.path(key)
        with explained(path):
            path.unlink(missing_ok=True)

    def upload(self, path: Path, key: str) -> None:
        with self._replacing(key) as temporary:
            shutil.copyfile(path, temporary)

    def download(self, key: str, path: Path) -> None:
        source = self.path(key)
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._temporary(path) as temporary:
                shutil.copyfile(source, temporary)
                temporary.replace(path)

    def sha256(self, key: str) -> str:
        path = self.path(key)
        with explained(path):
            return digest_of_file(path)

    def abort_uploads(self, prefix: str, before: float) -> int:
        removed = 0
        for path in self.path(prefix).rglob(f"{_TEMPORARY}*"):
            with explained(path), contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        return removed

    def path(self, key: str) -> Path:
        """Return the file behind a key; it stays inside the store, links followed."""
        require_key(key)
        path = self.root / key
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self._real):
            raise StoreError(
                f"{path} leaves the store: a link leads to {real}",
                remedy="Remove the link, or make the folder that it leads to the store.",
            )
        return path

    @contextmanager
    def _replacing(self, key: str) -> Iterator[Path]:
        path = self.path(key)
        with explained(path), self._temporary(path) as temporary:
            yield temporary
            _flush(temporary)
            temporary.replace(path)

    @contextmanager
    def _temporary(self, path: Path) -> Iterator[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        temporary.touch(exist_ok=False)  # with the user's umask: others may share the store
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def require_key(key: str) -> None:
    """Refuse a key that leaves the store, or means another object on another system.

    Raises:
        StoreError: with the reason.
    """
    if fault := key_fault(key):
        raise StoreError(f"key {key!r} {fault}", remedy="Use plain relative names.")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # /proc and its like have no place for new folders
        raise PermissionError(errno.EACCES, "Permission denied", str(path)) from error


def _flush(path: Path) -> None:
    """Make the bytes survive a power cut before the name that announces them does."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_REMEDIES = {
    errno.ENOSPC: "Free some space, then run the same command again: finished work is kept.",
    errno.EDQUOT: "Raise the quota, then run the same command again: finished work is kept.",
    errno.EACCES: "Give this user write permission, or choose another --store.",
    errno.EPERM: "Give this user write permission, or choose another --store.",
    errno.EROFS: "It is on a read-only file system: choose another --store.",
    errno.ENAMETOOLONG: "Choose a shorter --store.",
    errno.EEXIST: "It is a file: choose another --store.",
    errno.ENOTDIR: "A part of the path is a file: choose another --store.",
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals into StoreError; a missing file stays what it is.

    Args:
        path: what was being used, for the message.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise StoreError(
            f"cannot use the store at {path}: {os.strerror(error.errno)}.",
            remedy=_REMEDIES[error.errno],
        ) from error
