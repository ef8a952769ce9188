"""cleanup: the loop's exit handler; it removes half-written files and keeps finished work."""

from __future__ import annotations

import time

from lidr.components.shared.core.events import emit
from lidr.components.shared.step import step
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.open import open_store

IDLE_SECONDS = 3600
"""A temporary file without writes for this long is abandoned; younger ones may belong to another
run on the store."""

_PREFIXES = ("stages", "runs", "registry")


@step("cleanup")
def cleanup(store: str, state: str, run: str = "") -> str:
    """Remove temporary files that interrupted writers left in the store.

    Args:
        store: URI of the store.
        state: how the loop ended, as KFP names it.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        How many files were removed, as text.
    """
    home = open_store(store)
    oldest = time.time() - IDLE_SECONDS
    # On S3 a large upload may take longer; `lidr prune` removes abandoned ones.
    removed = 0
    if isinstance(home, LocalStore):
        removed = sum(home.abort_uploads(prefix, oldest) for prefix in _PREFIXES)
    if removed:
        emit("note", message=f"removed {removed} temporary files of interrupted runs ({state})")
    return str(removed)
