"""Reads the events file of a run (components/shared/core/events.py writes it).

A killed step may leave half a line, and messages quote models and servers. Lines that are not
events are skipped, as are events of an unknown kind and those with a field of a wrong type, even an
optional one. Control codes in text are replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from lidr.components.shared.core.json_files import Fields, fits, is_finite
from lidr.components.shared.core.text import printable

Event = dict[str, Any]
"""One line of the events file."""

_FIELDS: dict[str, Fields] = {
    "started": {"step": str, "iteration": int},
    "progress": {"done": int, "total": int, "unit": str},
    "number": {"name": str, "value": (str, int, float)},
    "accuracy": {"iteration": int, "language": str, "value": float},
    "judged": {"iteration": int, "task": str, "language": str, "value": float},
    "note": {"message": str},
    "warning": {"message": str},
    "reused": {},
    "finished": {"step": str, "seconds": float},
    "failed": {"step": str, "message": str, "exit_code": int},
}
"""Required fields of each kind of event, besides `_ALWAYS`."""

_ALWAYS: Fields = {"time": float}
_OPTIONAL: Fields = {
    **dict.fromkeys(("step", "shard", "rate_unit"), str),
    **dict.fromkeys(("rate", "seconds_left", "amount", "truncated"), float),
    "failures": dict,
    "unexpected": bool,
}


def parse_events(lines: Iterable[bytes]) -> list[Event]:
    """Return the events in lines of the file, in order."""
    return [event for line in lines if (event := _parsed(line)) is not None]


def _parsed(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    wanted = _FIELDS.get(event["event"])
    if wanted is None:
        return None
    optional = {name: kinds for name, kinds in _OPTIONAL.items() if name in event}
    known = {"event": str, **_ALWAYS, **wanted, **optional}
    if not all(name in event and fits(event[name], kinds) for name, kinds in known.items()):
        return None
    if not all(map(is_finite, event.get("failures", {}).values())):
        return None
    return {name: _clean(event[name]) for name in known}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(name): _clean(item) for name, item in value.items()}
    return value
