"""The store: a local folder or an `s3://` prefix, with the same few atomic operations."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lidr.components.shared.core.errors import StoreError, StoreUnavailable
from lidr.components.shared.core.json_files import Fields, read_object
from lidr.components.shared.core.names import key_fault


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing.

    Attributes:
        key: of the object.
        size: in bytes.
        modified: time of the last write, in seconds since 1970.
        etag: S3's, which changes with the object's bytes; "" in a local store.
    """

    key: str
    size: int
    modified: float = field(default=0.0, compare=False)
    etag: str = field(default="", compare=False)


class Store(Protocol):
    """The operations that steps need of a store. Keys are relative names with `/` (core/names.py).

    Every method raises StoreError for a full, read-only or unreachable store, and for a key that
    leads out of it. Bytes that were damaged on the way raise DamagedObject, which is no
    StoreError.
    """

    uri: str

    def read(self, key: str) -> bytes:
        """Return an object's bytes; FileNotFoundError where there is none."""

    def write(self, key: str, data: bytes) -> None:
        """Write an object; readers see the old bytes or all of the new ones."""

    def create(self, key: str, data: bytes) -> bool:
        """Write an object only where none exists; False if another writer was first.

        Two writers of identical bytes may both get True; competing writers must write
        something unique.
        """

    def exists(self, key: str) -> bool:
        """Return whether the object exists."""

    def list(self, prefix: str) -> list[Entry]:
        """Return all objects below a prefix (a folder, without the final `/`), sorted by key.

        The prefix "" stands for the whole store.
        """

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def upload(self, path: Path, key: str) -> None:
        """Copy a file into the store, as `write` does, without holding it in memory."""

    def download(self, key: str, path: Path) -> None:
        """Copy an object into a file, which appears whole or not at all.

        FileNotFoundError where there is no such object.
        """

    def sha256(self, key: str) -> str:
        """Return the digest of an object's bytes as they are now, read piece by piece.

        FileNotFoundError where there is none.
        """

    def abort_uploads(self, prefix: str, before: float) -> int:
        """Remove unfinished writes below a prefix, left by writers that died; return how many.

        Args:
            prefix: a folder, without the final `/`.
            before: time in seconds since 1970. S3 uploads that began, and local files last written,
                at this time or later stay: they may still be in progress.
        """


def require_key(key: str) -> None:
    """Raise StoreError for a key that `key_fault` rejects, e.g. one that leaves the store."""
    if fault := key_fault(key):
        raise StoreError(f"key {key!r} {fault}", remedy="Use plain relative names.")


def read_json(store: Store, key: str, required: Fields) -> dict[str, Any] | None:
    """Return a JSON object on the store, checked as by `read_object`; None where there is none.

    Raises:
        BadInput: it is damaged, or lacks a required field.
    """
    try:
        content: dict[str, Any] = read_object(store.read(key), f"{store.uri}/{key}", required)
    except FileNotFoundError:
        return None
    return content


_REMEDIES = {
    errno.ENOSPC: "Free some space, then run the same command again: finished work is kept.",
    errno.EDQUOT: "Raise the quota, then run the same command again: finished work is kept.",
    errno.EACCES: "Give this user read and write permission, or choose another --store.",
    errno.EPERM: "Give this user read and write permission, or choose another --store.",
    errno.EROFS: "It is on a read-only file system: choose another --store.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENAMETOOLONG: "Choose a shorter --store.",
    errno.EEXIST: "It is a file: choose another --store.",
    errno.EISDIR: "It is a folder: move it away.",
    errno.EFBIG: "Choose a --store on a disk that holds files of this size.",
    errno.ENOTDIR: "A part of the path is a file: choose another --store.",
}


_LOCAL_REMEDIES = {
    **dict.fromkeys(_REMEDIES, "{choose} a folder that this user can write."),
    errno.ENOSPC: "Free some space, or {choose} a larger disk, then run again.",
    errno.EDQUOT: "Raise the quota, or {choose} another disk, then run again.",
    errno.EFBIG: "{choose} a disk that holds files of this size.",
    **{code: _REMEDIES[code] for code in (errno.EMFILE, errno.EISDIR)},
    errno.ENAMETOOLONG: "{choose} a shorter path.",
}
"""Remedies for copies on this machine; see `_choose`."""

_UNREACHABLE = (
    *(errno.EIO, errno.EREMOTEIO, errno.ENXIO, errno.ESTALE, errno.ETIMEDOUT, errno.ESHUTDOWN),
    *(errno.ENOTCONN, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    *(errno.ENETDOWN, errno.ENETUNREACH),
)
"""Errors of a network file system whose server is unreachable, or of a failing disk."""


@contextmanager
def wrap_os_errors(path: Path, *, local_copy: bool = False) -> Iterator[None]:
    """Turn OS errors such as a full disk into StoreError; FileNotFoundError and others pass.

    Args:
        path: the file or folder in use, for the message.
        local_copy: whether it is a copy on this machine rather than the store's own file.
    """
    remedies = _LOCAL_REMEDIES if local_copy else _REMEDIES
    what = "write to" if local_copy else "use the store at"
    try:
        yield
    except OSError as error:
        if error.errno in _UNREACHABLE:
            raise StoreUnavailable(
                f"cannot {what} {path}: {os.strerror(error.errno)}.",
                remedy="Look at the disk or the mount, then run the same command again.",
            ) from error
        if error.errno not in remedies:
            raise
        remedy = remedies[error.errno].format(choose=_choose(path))
        raise StoreError(
            f"cannot {what} {path}: {os.strerror(error.errno)}.",
            remedy=remedy[0].upper() + remedy[1:],
        ) from error


def cache_folder() -> Path:
    """Return the folder of files that this machine keeps between runs."""
    return Path(os.environ.get("LIDR_CACHE", "~/.cache/lidr")).expanduser()


def _choose(path: Path) -> str:
    """Return "set <variable> to" if an environment variable places the copy, else "choose"."""
    places = {"LIDR_CACHE": cache_folder(), "TMPDIR": Path(tempfile.gettempdir())}
    variables = (name for name, place in places.items() if path.is_relative_to(place))
    return next((f"set {name} to" for name in variables), "choose")
