"""cleanup: the loop's exit handler. Finished work stays; half-made files go."""

from __future__ import annotations

import time
from pathlib import Path

from components.shared.progress import emit, step
from components.shared.store import LocalStore, open_store

IDLE_SECONDS = 3600
"""A temporary file that nobody wrote to for so long has lost its writer. Other runs may share the
store, so younger ones are left alone."""


@step("cleanup")
def cleanup(store: str, state: str, run: str = "") -> str:
    """Remove temporary files that interrupted writers left in the store's stages.

    Args:
        store: URI of the store.
        state: how the loop ended, as KFP names it.
        run: name of the run, for tracking only.

    Returns:
        How many files were removed, as text.
    """
    home = open_store(store)
    removed = remove_orphans(home.root / "stages") if isinstance(home, LocalStore) else 0
    if removed:
        emit("note", message=f"removed {removed} temporary files of interrupted runs ({state})")
    return str(removed)


def remove_orphans(folder: Path) -> int:
    """Remove the temporary files below a folder that lost their writers; return how many."""
    oldest = time.time() - IDLE_SECONDS
    orphans = [path for path in folder.rglob(".tmp-*") if path.stat().st_mtime < oldest]
    for path in orphans:
        path.unlink(missing_ok=True)
    return len(orphans)
