"""Moves an alias from one version to another: promotion and rollback."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

from lidr.components.shared.core.errors import BadInput, GateRefused
from lidr.components.shared.core.text import one_line
from lidr.components.shared.registry.audit import AliasMove, AuditEntry, confirm, record
from lidr.components.shared.registry.evidence import (
    PASSED,
    START,
    GateVerdict,
    require_files,
    verdict_of,
)
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.versions import (
    RegisteredModel,
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
"""Of a version: the last move of an alias to it, as JSON."""

_RESERVED = re.compile(r"latest|v\d+", re.IGNORECASE)
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")  # MLflow takes no dots
_MAX_REASON_CHARS = 1000


@dataclass(frozen=True, slots=True)
class PromotionOrder:
    """The options of a promotion.

    Attributes:
        alias: to move.
        reason: why; required with `force`.
        force: promote without a passed gate.
        verify: compare the digests of all files first.
        verdict: of a gate that compared the version with `expected`; by default that of the
            version's own gate.
        expected: version that the alias must still point at; None for any.
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
                remedy="Use letters, digits, hyphens and underscores, at most 100.",
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

    The champion before it becomes `previous`. M_0 passes no gate; it may become the first champion.

    Raises:
        BadInput: the order is invalid, or files of the version are gone.
        GateRefused: the version did not pass the gate, or the alias has moved meanwhile.
    """
    order.validate()
    verdict = order.verdict or verdict_of(version)
    require_files(version, verify=order.verify)
    with exclusive(audit_log) as lease:
        model = read_model(client, version.name)
        before = model.aliases.get(order.alias)
        forced = require_passed(version, verdict, order, before)
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
        return _move_alias(client, model, audit_log, lease, move)


def rollback(client: Any, name: str, audit_log: Store, reason: str = "") -> AuditEntry:
    """Swap the champion and the previous champion; return the audit entry.

    Raises:
        BadInput: there is no previous champion, or its files are gone.
    """
    PromotionOrder(reason=reason).validate()
    with exclusive(audit_log) as lease:
        model = read_model(client, name)
        if model.aliases.get(PREVIOUS) in (None, model.aliases.get(CHAMPION)):
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
            before=model.aliases.get(CHAMPION),
            reason=one_line(reason),
            verdict=judged.word,
            gate=judged.gate,
        )
        return _move_alias(client, model, audit_log, lease, move)


def require_passed(
    version: Version, verdict: GateVerdict, order: PromotionOrder, before: int | None
) -> bool:
    """Return whether a promotion is forced; False if the version passed the gate.

    Args:
        version: to be promoted.
        verdict: of the gate.
        order: the promotion's options.
        before: version that the alias points at; None if it does not exist.

    Raises:
        GateRefused: it neither passed nor is forced, or the alias is not at `order.expected`.
    """
    if order.expected is not None and before != order.expected:
        raise GateRefused(
            f"{order.alias} of {version.name!r} is {version_text(before)} by now, and "
            f"{version.label} was compared with version {order.expected}",
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


def _move_alias(
    client: Any, model: RegisteredModel, audit_log: Store, lease: Lease, move: AliasMove
) -> AuditEntry:
    """Record a move, make it and confirm it."""
    entry = record(audit_log, move)
    name = model.name
    with wrap_mlflow_errors(client, f"alias {move.alias!r} of {name!r}"):
        moves = [(move.alias, move.version)]
        if move.alias == CHAMPION and move.before is not None and move.before != move.version:
            moves.insert(0, (PREVIOUS, move.before))
        if move.action == "rollback":  # cut off between the two, the older champion is known yet
            moves.reverse()
        for alias, number in moves:
            _set_alias(client, lease, name, alias, str(number))
        confirm(audit_log, entry)
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
    return replace(entry, done=True)


def _set_alias(client: Any, lease: Lease, name: str, alias: str, version: str) -> None:
    def move() -> None:
        lease.require()  # before each attempt: MLflow may have been away for minutes
        client.set_registered_model_alias(name, alias, version)

    ask_mlflow(move, max_refusals=1)


def advance(client: Any, name: str, alias: str, number: int, audit_log: Store) -> None:
    """Point an alias at a version, unless it is at a newer one: steps may be repeated.

    No audit entry is written, because nobody decided it.
    """
    with exclusive(audit_log) as lease:
        if read_model(client, name).aliases.get(alias, 0) < number:
            lease.require()
            client.set_registered_model_alias(name, alias, str(number))
