"""Opens the store at a URI."""

from __future__ import annotations

from pathlib import Path

from lidr.components.shared.core.errors import StoreError
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.s3 import S3Store


def open_store(uri: str, *, writable: bool = True) -> Store:
    """Open the store at a folder or `s3://bucket/prefix`.

    Args:
        uri: of the store.
        writable: whether a folder must be; if not, a missing one is not created.

    Raises:
        StoreError: the scheme is unknown, the folder cannot be created or written, or there is no
            such bucket.
    """
    if uri.startswith("s3://"):
        return S3Store(uri)
    if "://" in uri and not uri.startswith("file://"):
        raise StoreError(
            f"store {uri!r} has an unknown scheme", remedy="Use a folder or s3://bucket/prefix."
        )
    return LocalStore(Path(uri.removeprefix("file://")), writable=writable)
