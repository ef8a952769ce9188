"""How commands print numbers of bytes."""

from __future__ import annotations

_UNITS = ("B", "kB", "MB", "GB", "TB")


def size_text(size: float) -> str:
    """Return a number of bytes as a person reads it: 16.1 GB."""
    unit = 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.0f} {_UNITS[unit]}" if size >= 100 or not unit else f"{size:.1f} {_UNITS[unit]}"
