"""Reads JSON that lidr wrote, and checks its fields: a file may be cut off, or edited by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from lidr.components.shared.core.errors import BadInput

Fields = Mapping[str, type | tuple[type, ...]]
"""Names of fields, and the types that their values may have; `float` includes int."""


_REMEDY = "It was damaged or edited: restore it, or remove it and run again."
RECORD_REMEDY = "Restore it, or move it away."
"""For a record that no run makes again."""


def read_object(
    data: bytes | str,
    place: str,
    required: Fields,
    optional: Fields = {},  # noqa: B006
    *,
    remedy: str = _REMEDY,
) -> Any:
    """Return a JSON object whose fields have the given types; any other fields are not checked.

    Args:
        data: the file's content.
        place: its path or address, for messages.
        required: the fields that it must have.
        optional: those that it may have.
        remedy: the error's; by default that of a file that another run makes again.

    Raises:
        BadInput: it is not a JSON object, or a field is missing or of another type.
    """
    try:
        found = json.loads(data)
        what = _fault(found, required, optional)
    except (ValueError, RecursionError):
        what = "is not JSON"
    if what:
        raise BadInput(what, file=place, remedy=remedy)
    return found


def is_finite(value: object) -> bool:
    """Return whether a value is a finite number (integers: below 2^63 in size), and not a bool."""
    return fits(value, float)


def fits(value: object, kinds: type | tuple[type, ...]) -> bool:
    """Return whether a JSON value has one of the given types; numbers must be finite."""
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    if isinstance(value, bool):
        return bool in wanted
    if isinstance(value, int):
        return int in wanted or (float in wanted and abs(value) < 1 << 63)
    if isinstance(value, float):
        return float in wanted and math.isfinite(value)
    return isinstance(value, wanted)


def is_count(value: object) -> bool:
    """Return whether a value is an integer that a column of counts takes: 0 to 2^31 - 1."""
    return isinstance(value, int) and fits(value, int) and 0 <= value < 1 << 31


def _fault(found: object, required: Fields, optional: Fields) -> str:
    if not isinstance(found, dict):
        return "is not a JSON object"
    for name, kinds in {**required, **optional}.items():
        if name in found and not fits(found[name], kinds):
            return f"has a field {name!r} of the wrong type"
        if name in required and name not in found:
            return f"has no {name!r}"
    return ""
