"""A registered model's audit log, compared with the aliases that MLflow has now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lidr.components.shared.registry.audit import AuditEntry, entries
from lidr.components.shared.registry.registration import AUDIT_LOG_TAG, open_audit_log
from lidr.components.shared.registry.versions import RegisteredModel, read_model, version_text


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """An audit entry, and how it disagrees with the others ("" if it does not)."""

    entry: AuditEntry
    note: str


@dataclass(frozen=True, slots=True)
class History:
    """What happened to a registered model's aliases.

    Attributes:
        model: the registered model as MLflow has it now.
        rows: the audit entries, the oldest first.
        strays: a sentence for each alias that is not where the audit log left it.
    """

    model: RegisteredModel
    rows: Sequence[HistoryRow]
    strays: Sequence[str]


def history(client: Any, name: str) -> History:
    """Return the audit log of a registered model, compared with MLflow.

    Raises:
        BadInput: there is no such model, or an entry is not as lidr writes it.
    """
    audit_log = read_model(client, name).tags.get(AUDIT_LOG_TAG, "")
    found = entries(open_audit_log(name, audit_log)) if audit_log else []
    model = read_model(client, name)
    rows: dict[str, HistoryRow] = {}
    strays = []
    for alias in sorted({entry.move.alias for entry in found}):
        own = [entry for entry in found if entry.move.alias == alias]
        current, notes = _replay(own, model.aliases.get(alias))
        rows |= {
            entry.name: HistoryRow(entry, note) for entry, note in zip(own, notes, strict=True)
        }
        if current != model.aliases.get(alias):
            strays.append(
                f"{alias} is {version_text(model.aliases.get(alias))} in MLflow, but the audit log "
                f"left it at {version_text(current)}: it was moved by other means"
            )
    return History(model, [rows[entry.name] for entry in found], strays)


def _replay(own: Sequence[AuditEntry], now: int | None) -> tuple[int | None, list[str]]:
    """Return where the audit log leaves one alias, and a note for each of its entries.

    Args:
        own: the alias's entries, the oldest first.
        now: version that the alias has in MLflow; None if it does not exist.
    """
    current: int | None = None
    notes = []
    later = [entry.move.before for entry in own[1:]] + [now]
    for number, (entry, then) in enumerate(zip(own, later, strict=True)):
        parts = []
        if number and entry.move.before != current:
            parts.append(
                f"before it, the alias was moved from {version_text(current)} by other means"
            )
        current = entry.move.before
        if entry.done or then == entry.move.version:
            current = entry.move.version
        if not entry.done:
            parts.append("not confirmed" if current == entry.move.version else "not carried out")
        notes.append("; ".join(parts))
    return current, notes
