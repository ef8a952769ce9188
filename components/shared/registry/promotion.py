"""Moves an alias from one version to another: promotion and rollback."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from lidr.components.shared.core.errors import BadInput, GateRefused
from lidr.components.shared.core.text import one_line
from lidr.components.shared.registry.audit import AliasMove, AuditEntry, confirm, entries, record
from lidr.components.shared.registry.evidence import (
    PASSED,
    START,
    GateVerdict,
    require_files,
    verdict_of,
)
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.versions import (
    Version,
    read_model,
    read_version,
    version_text,
)
from lidr.components.shared.store.base import Store
from lidr.components.shared.store.lease import Lease, exclusive
from lidr.components.shared.tracking import ask_mlflow

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"

PROMOTION_TAG = "lidr.promotion"
"""Tag of a version: the last move of an alias to it, as JSON."""

_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # MLflow takes no dots
_MAX_REASON_CHARS = 1000


@dataclass(frozen=True, slots=True)
class PromotionOrder:
    """The options of a promotion.

    Attributes:
        alias: the alias to move.
        reason: why; required with `force`.
        force: whether to promote without a passed gate.
        verify: whether to compare the digests of all files first.
        verdict: the gate's verdict to go by; None for that of the version's gate stage or tag.
        expected: the version that the alias must still point at, unless it is at the promoted one
            already; 0 if it must not exist yet, None for any.
    """

    alias: str = CHAMPION
    reason: str = ""
    force: bool = False
    verify: bool = False
    verdict: GateVerdict | None = None
    expected: int | None = None

    def validate(self) -> None:
        """Raise BadInput if the alias cannot be moved by hand, or for a missing or long reason."""
        if self.alias in (CANDIDATE, PREVIOUS) or _RESERVED.fullmatch(self.alias):
            raise BadInput(
                f"alias {self.alias!r} is not moved by hand", remedy=f"Promote to {CHAMPION}."
            )
        if not _ALIAS.fullmatch(self.alias):
            raise BadInput(
                f"{self.alias!r} cannot be an alias",
                remedy="Begin with a letter or digit and use those, hyphens and underscores, at "
                "most 100.",
            )
        if self.force and not self.reason.strip():
            raise BadInput("a forced promotion needs a reason", remedy="Add --reason TEXT.")
        if len(self.reason) > _MAX_REASON_CHARS:
            raise BadInput(
                f"the reason has {len(self.reason):,} characters, more than {_MAX_REASON_CHARS:,}",
                remedy="Shorten it.",
            )


def promote(client: Any, version: Version, audit_log: Store, order: PromotionOrder) -> AuditEntry:
    """Point an alias at a version that passed the gate; return the audit entry.

    A champion that it replaces becomes `previous`. M_0 passes no gate; it may become the first
    champion. An attempt that was cut off after the alias had moved is finished under its own audit
    entry.

    Raises:
        BadInput: the order is invalid, or files of the version are gone.
        GateRefused: the version did not pass the gate, or the alias has moved meanwhile.
    """
    order.validate()
    verdict = order.verdict or verdict_of(version)
    require_files(version, verify=order.verify)
    with exclusive(audit_log) as lease:
        model = ask_mlflow(lambda: read_model(client, version.name))
        before = model.aliases.get(order.alias)
        forced = permit_promotion(version, verdict, order, before)
        move = AliasMove(
            action="promote",
            alias=order.alias,
            version=version.number,
            before=before,
            reason=one_line(order.reason),
            forced=forced,
            verdict=verdict.word,
            gate=verdict.gate,
        )
        entry = _cut_off(audit_log, order.alias) if before == version.number else None
        if entry is None or entry.move != replace(move, before=entry.move.before):
            entry = record(audit_log, move)
        return _carry_out(client, version.name, audit_log, lease, entry)


def finish_promotion(client: Any, version: Version, audit_log: Store) -> AuditEntry | None:
    """Finish a promotion that was cut off after the champion had moved; return its audit entry.

    None if there is none: the alias is elsewhere, or its last move is confirmed or a rollback.
    """
    with exclusive(audit_log) as lease:
        entry = _cut_off(audit_log, CHAMPION)
        if not entry or (entry.move.action, entry.move.version) != ("promote", version.number):
            return None
        model = ask_mlflow(lambda: read_model(client, version.name))
        if model.aliases.get(CHAMPION) != version.number:
            return None
        return _carry_out(client, version.name, audit_log, lease, entry)


def rollback(client: Any, name: str, audit_log: Store, reason: str = "") -> AuditEntry:
    """Swap the champion and the previous champion; return the audit entry.

    A rollback that was cut off after the champion had moved is finished under its own audit entry.

    Raises:
        BadInput: there is no previous champion, or its files are gone.
    """
    PromotionOrder(reason=reason).validate()
    with exclusive(audit_log) as lease:
        aliases = read_model(client, name).aliases
        champion, previous = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        entry = _cut_off(audit_log, CHAMPION)
        if entry and (entry.move.action, entry.move.version) == ("rollback", champion):
            return _carry_out(client, name, audit_log, lease, entry)
        if previous in (None, champion):
            raise BadInput(
                f"{name!r} has no previous champion", remedy=f"Use `lidr promote {name} VERSION`."
            )
        version = read_version(client, name, f"@{PREVIOUS}")
        require_files(version)
        judged = verdict_of(version)
        move = AliasMove(
            action="rollback",
            alias=CHAMPION,
            version=version.number,
            before=champion,
            reason=one_line(reason),
            verdict=judged.word,
            gate=judged.gate,
        )
        return _carry_out(client, name, audit_log, lease, record(audit_log, move))


def permit_promotion(
    version: Version, verdict: GateVerdict, order: PromotionOrder, before: int | None
) -> bool:
    """Refuse a promotion that is not allowed; return whether it is forced, against the gate.

    Args:
        version: the version to be promoted.
        verdict: the gate's verdict.
        order: the promotion's options.
        before: the version that the alias points at; None if it does not exist.

    Raises:
        GateRefused: the version neither passed nor is forced, or the alias is not at
            `order.expected`.
    """
    if order.expected is not None and (before or 0) not in (order.expected, version.number):
        basis = f"compared with version {order.expected}" if order.expected else "to be the first"
        raise GateRefused(
            f"{order.alias} of {version.name!r} is {version_text(before)} by now, but "
            f"{version.label} was {basis}",
            remedy="Compare it with what the alias names now, if anything.",
        )
    if verdict.word == PASSED or (verdict.word == START and before in (None, version.number)):
        return False
    if order.force:
        return True
    said = {
        START: f"is the start, which no gate has judged, and {order.alias} is "
        f"{version_text(before)}",
        "": "was never judged by a gate",
    }.get(verdict.word, f"did not pass the gate, which said {one_line(verdict.word)}")
    raise GateRefused(
        f"{version.label} {said}", remedy="Add --force --reason TEXT to promote it anyway."
    )


def _cut_off(audit_log: Store, alias: str) -> AuditEntry | None:
    """Return the last entry of an alias if it is not confirmed; None if it is, or there is none."""
    own = [entry for entry in entries(audit_log) if entry.move.alias == alias]
    return own[-1] if own and not own[-1].done else None


def _carry_out(
    client: Any, name: str, audit_log: Store, lease: Lease, entry: AuditEntry
) -> AuditEntry:
    """Make the move of an audit entry, or what is left of it, and confirm the entry."""
    move = entry.move
    with wrap_mlflow_errors(client, f"alias {move.alias!r} of {name!r}"):
        moves = [(move.alias, move.version)]
        if move.alias == CHAMPION and move.before is not None and move.before != move.version:
            moves.insert(0, (PREVIOUS, move.before))
        if move.action == "rollback":
            moves.reverse()
        # If this is cut off between the two moves, both aliases are at the older champion.
        for alias, number in moves:
            _set_alias(client, lease, name, alias, str(number))
        brief = {
            "time": entry.time,
            "actor": entry.actor,
            "action": move.action,
            "alias": move.alias,
            "before": move.before,
            "reason": move.reason,
            "forced": move.forced,
        }
        tag = (name, str(move.version), PROMOTION_TAG, json.dumps(brief))
        ask_mlflow(lambda: client.set_model_version_tag(*tag), max_refusals=1)
        confirm(audit_log, entry)  # last: what is not confirmed is finished by a repeat
    return replace(entry, done=True)


def _set_alias(client: Any, lease: Lease, name: str, alias: str, version: str) -> None:
    def move() -> None:
        lease.require()  # before each attempt: MLflow may have been away for minutes
        client.set_registered_model_alias(name, alias, version)

    ask_mlflow(move, max_refusals=1)


def advance(
    client: Any, name: str, alias: str, number: int, audit_log: Store, *, if_unset: bool = False
) -> None:
    """Point an alias at a version, unless it is at a newer one: steps may be repeated.

    No audit entry is written, because nobody decided it.

    Args:
        client: an `mlflow.MlflowClient`.
        name: name of the registered model.
        alias: the alias to move.
        number: number of the version.
        audit_log: the model's, for its lease.
        if_unset: whether to leave the alias where it is, if it is anywhere.
    """
    with exclusive(audit_log) as lease:
        held = read_model(client, name).aliases.get(alias, 0)
        if held < number and not (if_unset and held):
            lease.require()
            client.set_registered_model_alias(name, alias, str(number))
