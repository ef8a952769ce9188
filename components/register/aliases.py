"""The aliases that a version gets when it is registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import GateRefused
from lidr.components.shared.core.events import emit
from lidr.components.shared.registry.evidence import GATE_TAG, PASSED, START, GateVerdict
from lidr.components.shared.registry.mlflow_errors import wrap_mlflow_errors
from lidr.components.shared.registry.promotion import (
    CANDIDATE,
    CHAMPION,
    PromotionOrder,
    advance,
    finish_promotion,
    promote,
)
from lidr.components.shared.registry.registration import audit_log_of
from lidr.components.shared.registry.versions import (
    PARENT_TAG,
    VERDICT_TAG,
    RegisteredModel,
    Version,
    read_model,
    read_version,
)
from lidr.components.shared.store.base import Store
from lidr.components.shared.tracking import ask_mlflow


def give_aliases(
    client: Any,
    settings: Recipe,
    name: str,
    number: int,
    tags: Mapping[str, str],
    gate: str,
    run: str,
    audit_log: str,
) -> None:
    """Make a version that passed the gate, or an M_0, candidate and, if `promote: gated`, champion.

    If the version was registered with another verdict, a passed gate replaces it. Retries MLflow
    itself: retrying this whole function would record a promotion each time.

    Args:
        client: an `mlflow.MlflowClient`.
        settings: the recipe.
        name: of the registered model.
        number: of the version.
        tags: of the version as this run registers it, with the gate's verdict (`start` for M_0).
        gate: URI of the gate stage; "" for M_0.
        run: name of the run, for the audit entry.
        audit_log: URI of the folder for lease and audit entries, unless the model names one.
    """
    verdict = GateVerdict(tags[VERDICT_TAG], gate)
    if verdict.word not in (PASSED, START):
        return

    def make_candidate() -> tuple[RegisteredModel, Version, Store]:
        with wrap_mlflow_errors(client, f"version {number} of {name!r}"):
            version = read_version(client, name, str(number))
            if verdict.word == PASSED and version.tags.get(VERDICT_TAG) != PASSED:
                # VERDICT_TAG last: until it is set, a repeat sets all three again
                for tag in (GATE_TAG, PARENT_TAG, VERDICT_TAG):
                    client.set_model_version_tag(name, str(number), tag, tags[tag])
            model = read_model(client, name)
            home = audit_log_of(client, model, audit_log)
            # An M_0, which no gate has judged, takes the alias from nobody.
            advance(client, name, CANDIDATE, number, home, if_unset=verdict.word != PASSED)
        return model, version, home

    model, version, home = ask_mlflow(make_candidate)
    if settings.registry.promote == "gated":
        parent = tags.get(PARENT_TAG, "")
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
        finish_promotion(client, version, audit_log)
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
    order = PromotionOrder(reason=reason, verdict=verdict, expected=champion or 0)
    try:
        entry = promote(client, version, audit_log, order)
    except GateRefused as refused:  # another run has moved the champion since it was read
        emit("note", message=f"{version.label} is not promoted: {refused.message}")
        return
    emit("number", name="champion", value=f"{version.label} since {entry.time}")
