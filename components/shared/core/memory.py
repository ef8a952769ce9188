"""How much memory programs can still get on this machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")

_CGROUP_FILES = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""Limit, use, and what the use is made of: of version 2 and of version 1 of cgroups."""

_FILE_CACHE = ("active_file", "inactive_file")


def free_memory() -> int:
    """Return the bytes that programs can still get: of the machine, or of its cgroup's limit.

    A container's limit may be a small part of its node, which /proc/meminfo describes.
    """
    return min([_free_on_machine(), *_free_in_cgroups(_CGROUPS)])


def _free_on_machine() -> int:
    with suppress(OSError, StopIteration, ValueError):
        lines = _MEMINFO.read_text("utf-8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS has no /proc


def _free_in_cgroups(root: Path) -> list[int]:
    """Return what the limits leave; cached files count as free, as in MemAvailable."""
    found = []
    for names in _CGROUP_FILES:
        with suppress(OSError, ValueError):  # ValueError: "max", no limit
            limit, used, parts = ((root / name).read_text("utf-8") for name in names)
            rows = (line.split() for line in parts.splitlines())
            sizes = {name: int(size) for name, size in rows}
            cached = sum(sizes.get(f"total_{each}", sizes.get(each, 0)) for each in _FILE_CACHE)
            found.append(max(0, int(limit) - int(used) + cached))
    return found
