"""The aliases that a version gets when it is registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.events import emit
from lidr.components.shared.registry.evidence import GATE_TAG, PASSED, START, GateVerdict
from lidr.components.shared.registry.promotion import (
    CANDIDATE,
    CHAMPION,
    PromotionOrder,
    advance,
    promote,
)
from lidr.components.shared.registry.versions import (
    VERDICT_TAG,
    RegisteredModel,
    Version,
    audit_log_of,
    read_model,
    read_version,
)
from lidr.components.shared.store.base import Store

_PARENT_TAG = "lidr.parent_version"


def give_aliases(
    client: Any,
    settings: Recipe,
    label: str,
    tags: Mapping[str, str],
    gate: str,
    run: str,
    audit_log: str,
) -> None:
    """Make a version that passed the gate, or an M_0, the candidate and, if so set, champion.

    Where the version's tags hold another gate's refusal, this gate's verdict replaces it.

    Args:
        client: an `mlflow.MlflowClient`.
        settings: the recipe.
        label: "<registered model>/<version>".
        tags: of the version as this run registers it, with the gate's verdict (`start` for M_0).
        gate: URI of the gate stage; "" for M_0.
        run: name of the run, for the audit entry.
        audit_log: URI of the folder for lease and audit entries, unless the model names one.
    """
    name, _, text = label.rpartition("/")
    number = int(text)
    verdict = GateVerdict(tags[VERDICT_TAG], gate)
    if verdict.word not in (PASSED, START):
        return
    version = read_version(client, name, text)
    if verdict.word == PASSED and version.tags.get(VERDICT_TAG) != PASSED:
        for tag in (GATE_TAG, VERDICT_TAG, _PARENT_TAG):
            client.set_model_version_tag(name, text, tag, tags[tag])
    model = read_model(client, name)
    home = audit_log_of(client, model, audit_log)
    if model.aliases.get(CANDIDATE, 0) < number:
        advance(client, name, CANDIDATE, number, home)
    if settings.registry.promote == "gated":
        parent = tags.get(_PARENT_TAG, "")
        _promote(client, model, version, parent, verdict, home, run)


def _promote(
    client: Any,
    model: RegisteredModel,
    version: Version,
    parent: str,
    verdict: GateVerdict,
    audit_log: Store,
    run: str,
) -> None:
    """Promote a version if its gate compared it with the champion, or there is no champion yet."""
    champion = model.aliases.get(CHAMPION)
    if champion == version.number:
        return
    if champion is not None and parent != f"{version.name}/{champion}":
        why = f"the gate compared it with {parent}" if parent else "no gate judges a start"
        emit(
            "note",
            message=f"{version.label} is not promoted: {why}, and the champion is "
            f"{version.name}/{champion}",
        )
        return
    reason = f"run {run} passed the gate" if parent else f"run {run} starts here"
    order = PromotionOrder(reason=reason, verdict=verdict, expected=champion)
    entry = promote(client, version, audit_log, order)
    emit("number", name="champion", value=f"{version.label} since {entry.time}")
