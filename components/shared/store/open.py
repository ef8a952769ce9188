"""Opens the store at a URI."""

from __future__ import annotations

from pathlib import Path

from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.s3 import S3Store


def local_folder(uri: str) -> Path | None:
    """Return the folder that a URI names, which may be missing; None if it names none."""
    path = uri.removeprefix("file://")
    return None if "://" in path else Path(path)


def is_missing_folder(uri: str) -> bool:
    """Tell whether a URI names a folder that does not exist, which `open_store` would create."""
    folder = local_folder(uri)
    return folder is not None and not folder.is_dir()


def open_store(uri: str, *, writable: bool = True) -> Store:
    """Open the store at a folder or `s3://bucket/prefix`.

    Args:
        uri: of the store.
        writable: whether a folder must be writable; if not, a missing one is not created.

    Raises:
        StoreError: the URI is empty or its scheme unknown, the folder cannot be created or written,
            or there is no such bucket.
    """
    if uri.startswith("s3://"):
        return S3Store(uri)
    if not uri:
        raise StoreError("the store has no name", remedy="Use a folder or s3://bucket/prefix.")
    folder = local_folder(uri)
    if folder is None:
        raise StoreError(
            f"store {uri!r} has an unknown scheme", remedy="Use a folder or s3://bucket/prefix."
        )
    return LocalStore(folder, writable=writable)
