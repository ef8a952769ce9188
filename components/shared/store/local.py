"""A store in a folder, which several machines may share (e.g. by NFS)."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lidr.components.shared.core.digest import digest_of_file
from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.store.base import Entry, require_key, wrap_os_errors

_TEMPORARY = ".tmp-"
_PIECE_BYTES = 8 << 20


def _raise_unless_gone(error: OSError) -> None:
    # Another process has just removed the folder, or the prefix is a file.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


class LocalStore:
    """A folder. Writes fill a temporary file beside the target, fsync it, then rename or link it.

    Args:
        root: the folder; a missing one is created if it must be writable.
        writable: whether the folder must be writable; a bundle may be on a read-only mount.
    """

    def __init__(self, root: Path, *, writable: bool = True) -> None:
        if "\0" in str(root):
            raise StoreError(f"{str(root)!r} is not a valid folder name", remedy="Correct --store.")
        self.root = root.absolute()
        self.uri = str(self.root)
        with wrap_os_errors(self.root):
            if writable:
                _make_folder(self.root)
            self._real = Path(os.path.realpath(self.root))
            if writable and not os.access(self.root, os.W_OK | os.X_OK):
                fixed = os.statvfs(self.root).f_flag & os.ST_RDONLY
                code = errno.EROFS if fixed else errno.EACCES
                raise OSError(code, os.strerror(code), str(self.root))

    def read(self, key: str) -> bytes:
        path = self.path(key)
        with _reading(path):
            return path.read_bytes()

    def write(self, key: str, data: bytes) -> None:
        with self._replacing(key) as temporary:
            temporary.write_bytes(data)

    def create(self, key: str, data: bytes) -> bool:
        path = self.path(key)
        with wrap_os_errors(path), self._temporary(path) as temporary:
            temporary.write_bytes(data)
            _flush(temporary)
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                    raise
                raise StoreError(
                    f"the file system of {self.root} has no hard links",
                    remedy="Use a store on a file system that has them.",
                ) from error
        return True

    def exists(self, key: str) -> bool:
        path = self.path(key)
        with wrap_os_errors(path):
            return path.is_file()

    def list(self, prefix: str) -> list[Entry]:
        folder = self.path(prefix) if prefix else self.root
        entries = []
        with wrap_os_errors(folder):
            for parent, _, names in os.walk(folder, onerror=_raise_unless_gone):
                for path in (Path(parent, name) for name in names):
                    if path.name.startswith(_TEMPORARY):
                        continue
                    with contextlib.suppress(FileNotFoundError):  # another process deletes it
                        status = path.stat()
                        if stat.S_ISREG(status.st_mode):
                            key = path.relative_to(self.root).as_posix()
                            entries.append(Entry(key, status.st_size, status.st_mtime))
        return sorted(entries, key=lambda entry: entry.key)

    def delete(self, key: str) -> None:
        path = self.path(key)
        with wrap_os_errors(path):
            path.unlink(missing_ok=True)

    def upload(self, path: Path, key: str) -> None:
        with self._replacing(key) as temporary:
            shutil.copyfile(path, temporary)

    def download(self, key: str, path: Path) -> None:
        source = self.path(key)
        with _reading(source):
            data = source.open("rb")
        with data, wrap_os_errors(path, local_copy=True), self._temporary(path) as temporary:
            with temporary.open("wb") as copy:
                while piece := _next_piece(data, source):
                    copy.write(piece)
            temporary.replace(path)

    def sha256(self, key: str) -> str:
        path = self.path(key)
        with _reading(path):
            return digest_of_file(path)

    def abort_uploads(self, prefix: str, before: float) -> int:
        removed = 0
        for path in self.path(prefix).rglob(f"{_TEMPORARY}*"):
            with wrap_os_errors(path), contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    removed += 1
        return removed

    def path(self, key: str) -> Path:
        """Return the path of an object.

        Raises:
            StoreError: the key is malformed, or a symbolic link leads out of the store.
        """
        require_key(key)
        path = self.root / key
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self._real):
            raise StoreError(
                f"{path} leaves the store: a link leads to {real}",
                remedy="Remove the link, or use the folder that it leads to as the store.",
            )
        return path

    @contextmanager
    def _replacing(self, key: str) -> Iterator[Path]:
        path = self.path(key)
        with wrap_os_errors(path), self._temporary(path) as temporary:
            yield temporary
            _flush(temporary)
            temporary.replace(path)

    @contextmanager
    def _temporary(self, path: Path) -> Iterator[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        temporary.touch(exist_ok=False)  # with the umask's mode, so that others can read it
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Wrap OS errors; a folder in an object's place counts as missing, as it does for `exists`."""
    with wrap_os_errors(path):
        try:
            yield
        except IsADirectoryError as error:
            raise FileNotFoundError(errno.ENOENT, "it is a folder", str(path)) from error


def _next_piece(data: BinaryIO, source: Path) -> bytes:
    with wrap_os_errors(source):
        return data.read(_PIECE_BYTES)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # e.g. below /proc, where no folder can be created
        raise PermissionError(errno.EACCES, "Permission denied", str(path)) from error


def _flush(path: Path) -> None:
    """Flush a file to disk, so that no power cut leaves its final name with bytes missing."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
