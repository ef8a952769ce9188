"""Deletes objects in parallel: each takes milliseconds, and a stage may have thousands."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from lidr.components.shared.core.retry import report_wait
from lidr.components.shared.store.base import Store

_THREADS = 16


def delete_all(store: Store, keys: Iterable[str]) -> None:
    """Delete objects, many at a time.

    Raises:
        StoreError: one of them cannot be deleted; some of the others have been.
    """
    with (
        report_wait(f"deleting files from {store.uri}"),
        ThreadPoolExecutor(_THREADS) as pool,
    ):
        list(pool.map(store.delete, keys))
