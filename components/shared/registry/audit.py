"""The audit log: who moved which alias, when, from where and why, in one object for each move.

Entries are never rewritten. One is written before the alias moves, so that no move goes unrecorded,
and confirmed by an empty object beside it when the move is done. Names sort by time.
"""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from lidr.components.shared.core.actor import actor
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.json_files import RECORD_REMEDY, Fields, read_object
from lidr.components.shared.store.base import Store

Action = Literal["promote", "rollback"]

_FOLDER = "audit"
_FIELDS: Fields = {
    **dict.fromkeys(("time", "actor", "action", "alias", "reason", "verdict", "gate"), str),
    "version": int,
    "before": (int, type(None)),
    "forced": bool,
}
_TIME = "%Y%m%dT%H%M%S.%fZ"
_ENTRY, _DONE = ".json", ".done"
_READERS = 8


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias, as it was requested.

    Attributes:
        action: what was requested.
        alias: the alias that moves.
        version: the version that it moves to.
        before: the version that it pointed at; None if it did not exist.
        reason: the reason that was given for the move; "" for none.
        forced: whether the move went against the gate, or without one.
        verdict: the gate's verdict on the version, as in the tag `lidr.gate_verdict`.
        gate: URI of the gate stage with the verdict; "" if only the tag has it.
    """

    action: Action
    alias: str
    version: int
    before: int | None
    reason: str = ""
    forced: bool = False
    verdict: str = ""
    gate: str = ""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A move in the audit log.

    Attributes:
        name: name of its object, without suffix.
        time: when it was written, ISO 8601 in UTC.
        actor: who requested the move.
        move: what was requested.
        done: whether it was carried out and confirmed.
    """

    name: str
    time: str
    actor: str
    move: AliasMove
    done: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON types."""
        return {"time": self.time, "actor": self.actor, **asdict(self.move), "done": self.done}


def record(audit_log: Store, move: AliasMove) -> AuditEntry:
    """Write an entry of a move that is about to be made; the caller holds the audit log's lease.

    Its time is later than that of every entry before it, even if clocks differ.
    """
    at = datetime.now(UTC)
    if names := [name for name in _names(audit_log, _ENTRY) if _is_timed(name)]:
        at = max(at, _time_of(names[-1]) + timedelta(microseconds=1))
    entry = AuditEntry(
        f"{at.strftime(_TIME)}-{uuid.uuid4().hex}", at.isoformat(), actor(), move, False
    )
    text = {"time": entry.time, "actor": entry.actor, **asdict(move)}
    if not audit_log.create(f"{_FOLDER}/{entry.name}{_ENTRY}", json.dumps(text, indent=2).encode()):
        raise AssertionError(f"{entry.name} is taken")
    return entry


def confirm(audit_log: Store, entry: AuditEntry) -> None:
    """Record that an entry's move is done."""
    audit_log.create(f"{_FOLDER}/{entry.name}{_DONE}", b"")


def entries(audit_log: Store) -> list[AuditEntry]:
    """Return all entries, the oldest first.

    Raises:
        BadInput: one of them is not as lidr writes it.
    """
    names = _names(audit_log, _ENTRY)
    done = set(_names(audit_log, _DONE))  # listed last: a move may be confirmed meanwhile
    with ThreadPoolExecutor(_READERS) as pool:
        return list(pool.map(lambda name: _read(audit_log, name, name in done), names))


def _read(audit_log: Store, name: str, done: bool) -> AuditEntry:
    key = f"{_FOLDER}/{name}{_ENTRY}"
    if not _is_timed(name):
        raise BadInput(
            "not the name of an audit entry of lidr",
            file=f"{audit_log.uri}/{key}",
            remedy="Move it away.",
        )
    text = read_object(audit_log.read(key), f"{audit_log.uri}/{key}", _FIELDS, remedy=RECORD_REMEDY)
    if text["action"] not in get_args(Action):
        raise BadInput(
            f"not an audit entry of lidr: {text['action']!r} is no action",
            file=f"{audit_log.uri}/{key}",
            remedy=RECORD_REMEDY,
        )
    fields = {field: text[field] for field in AliasMove.__dataclass_fields__}
    return AuditEntry(name, text["time"], text["actor"], AliasMove(**fields), done)


def _names(audit_log: Store, suffix: str) -> list[str]:
    keys = [entry.key for entry in audit_log.list(_FOLDER) if entry.key.endswith(suffix)]
    return [key.removeprefix(f"{_FOLDER}/").removesuffix(suffix) for key in keys]


def _time_of(name: str) -> datetime:
    return datetime.strptime(name.partition("-")[0], _TIME).replace(tzinfo=UTC)


def _is_timed(name: str) -> bool:
    try:
        _time_of(name)
    except ValueError:
        return False
    return True
