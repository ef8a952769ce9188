"""promote: moves an alias to a challenger that the gate found better."""

from __future__ import annotations

from lidr.components.shared.core.events import emit
from lidr.components.shared.registry.evidence import GateVerdict, store_of
from lidr.components.shared.registry.promotion import PromotionOrder
from lidr.components.shared.registry.promotion import promote as move_alias
from lidr.components.shared.registry.registration import audit_log_of, default_audit_log
from lidr.components.shared.registry.versions import read_model, read_version
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import open_stage
from lidr.components.shared.tracking import ask_mlflow, mlflow_client


@step("promote")
def promote(
    store: str,
    name: str,
    challenger_number: int,
    champion_number: int,
    alias: str,
    decision: str,
    reason: str,
) -> str:
    """Promote a version that the gate found better than the one with the alias.

    Args:
        store: URI of the store.
        name: of the registered model.
        challenger_number: version to promote.
        champion_number: version that had the alias when the two were compared.
        alias: to move.
        decision: URI of the gate stage that compared them.
        reason: why, for the record; "" for the gate's own.

    Returns:
        "<registered model>/<version>" of the challenger.

    Raises:
        GateRefused: the gate did not find it better, or the alias has moved to a third version.
        BadInput: its files are gone.
    """
    counts = open_stage(decision).counts()
    order = PromotionOrder(
        alias=alias,
        reason=reason or str(counts["reason"]),
        verdict=GateVerdict(str(counts["decision"]), decision),
        expected=champion_number,
    )
    client = mlflow_client(store)
    version = ask_mlflow(lambda: read_version(client, name, str(challenger_number)))
    home = store_of(version) or open_store(store).uri
    model = ask_mlflow(lambda: read_model(client, name))
    audit_log = ask_mlflow(lambda: audit_log_of(client, model, default_audit_log(home, name)))
    move_alias(client, version, audit_log, order)
    emit("number", name=alias, value=f"{version.label}: {counts['reason']}")
    return version.label
