"""How much memory programs can still get on this machine; on macOS, how much it has."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from lidr.components.shared.core.cgroups import cgroup_folders

_MEMINFO = Path("/proc/meminfo")

_CGROUP_FILES = {
    "": ("memory.max", "memory.current", "memory.stat"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
}
"""Limit, use, and what the use is made of, by controller: of version 2, which has one hierarchy
without a name, and of version 1 of cgroups."""

_FILE_CACHE = ("active_file", "inactive_file")


def free_memory() -> int:
    """Return the bytes that programs can still get: of the machine, or of a limit on the process.

    The limit of a container, a batch job or a service may be a small part of its node, which
    /proc/meminfo describes. Where there is no /proc (macOS), it is the machine's whole memory.
    """
    return min([_free_on_machine(), *_free_in_cgroups()])


def _free_on_machine() -> int:
    with suppress(OSError, StopIteration, ValueError):
        lines = _MEMINFO.read_text("utf-8").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS has no /proc


def _free_in_cgroups() -> list[int]:
    """Return what the limits leave; cached files count as free, as in MemAvailable."""
    found = []
    for controller, names in _CGROUP_FILES.items():
        for folder in cgroup_folders(controller):
            with suppress(OSError, ValueError):  # ValueError: "max", no limit
                limit, used, parts = ((folder / name).read_text("utf-8") for name in names)
                rows = (line.split() for line in parts.splitlines())
                sizes = {name: int(size) for name, size in rows}
                cached = sum(sizes.get(f"total_{each}", sizes.get(each, 0)) for each in _FILE_CACHE)
                found.append(max(0, int(limit) - int(used) + cached))
    return found
