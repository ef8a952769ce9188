"""A folder for the files of this process, in memory where there is one for that."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

_MEMORY = Path("/dev/shm")


def scratch() -> Path:
    """Return the folder; it goes with the process."""
    return Path(_folder().name)


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    place = _MEMORY if _MEMORY.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="lidr-fuzz-", dir=place)
