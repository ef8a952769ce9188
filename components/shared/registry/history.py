"""A registered model's audit log, compared with the aliases that MLflow has now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.registry.audit import AuditEntry, entries
from lidr.components.shared.registry.registration import AUDIT_LOG_TAG, open_audit_log
from lidr.components.shared.registry.versions import RegisteredModel, read_model, version_text

Versions = tuple[int | None, ...]
"""Where an alias is: one version (None for nowhere), or one of several."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """An audit entry, and what is odd about it ("" for nothing)."""

    entry: AuditEntry
    note: str


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a registered model's aliases.

    Attributes:
        model: the registered model as MLflow has it now.
        rows: the audit entries, the oldest first.
        unexplained: a sentence for each alias that is not where the audit log left it.
    """

    model: RegisteredModel
    rows: Sequence[HistoryRow]
    unexplained: Sequence[str]


def history(client: Any, name: str) -> History:
    """Return the audit log of a registered model, compared with MLflow.

    Raises:
        BadInput: there is no such model, or an entry is not as lidr writes it.
    """
    audit_log = read_model(client, name).tags.get(AUDIT_LOG_TAG, "")
    found = entries(open_audit_log(name, audit_log)) if audit_log else []
    model = read_model(client, name)
    rows: dict[str, HistoryRow] = {}
    unexplained = []
    for alias in sorted({entry.move.alias for entry in found}):
        own = [entry for entry in found if entry.move.alias == alias]
        current, notes = _replay(own, model.aliases.get(alias))
        rows |= {
            entry.name: HistoryRow(entry, note) for entry, note in zip(own, notes, strict=True)
        }
        if model.aliases.get(alias) not in current:
            unexplained.append(
                f"{alias} is {version_text(model.aliases.get(alias))} in MLflow, but the audit log "
                f"left it at {_text(current)}: it was moved by other means"
            )
    return History(model, [rows[entry.name] for entry in found], unexplained)


def _replay(own: Sequence[AuditEntry], now: int | None) -> tuple[Versions, list[str]]:
    """Return where the audit log leaves one alias, and a note for each of its entries.

    Args:
        own: the alias's entries, the oldest first.
        now: version that the alias has in MLflow; None if it does not exist.
    """
    current: Versions = ()
    notes = []
    # where the alias was at the next entry, or is now
    afterwards = [entry.move.before for entry in own[1:]] + [now]
    for entry, later in zip(own, afterwards, strict=True):
        moved = ""
        if current and entry.move.before not in current:
            moved = f"before it, the alias was moved from {_text(current)} by other means"
        current, doubt = _outcome(entry, later)
        notes.append("; ".join(filter(None, (moved, doubt))))
    return current, notes


def _outcome(entry: AuditEntry, later: int | None) -> tuple[Versions, str]:
    """Return where an entry leaves its alias, and what is unsure about that ("" for nothing).

    Args:
        entry: of the audit log.
        later: where the alias was the next time that it was seen.
    """
    move = entry.move
    if entry.done:
        return (move.version,), ""
    if later == move.version:
        return (move.version,), "not confirmed"
    if later == move.before:
        return (move.before,), "not carried out"
    return (move.before, move.version), "not confirmed; it may have been carried out"


def _text(versions: Versions) -> str:
    return " or ".join(map(version_text, versions))
