"""nominate: looks up the two models that a promotion compares."""

from __future__ import annotations

from typing import NamedTuple

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.models.stages import stage_of_files
from lidr.components.shared.registry.evidence import require_files
from lidr.components.shared.registry.promotion import PromotionOrder
from lidr.components.shared.registry.versions import files_of, read_model, read_version
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.tracking import ask_mlflow, mlflow_client


class Nomination(NamedTuple):
    """URIs of the two models' stages, and their version numbers.

    `champion` is the version that has the alias, whichever alias that is.
    """

    champion: str
    challenger: str
    champion_number: int
    challenger_number: int


@step("nominate")
def nominate(store: str, name: str, version: str, alias: str, reason: str) -> Nomination:
    """Look up the challenger and the version that has the alias; aliases are resolved here only.

    Args:
        store: URI of the store.
        name: name of the registered model.
        version: the challenger: a number, or @ and an alias.
        alias: the alias to move to the challenger, e.g. champion.
        reason: why the alias is moved, for the promote step to record; "" for the gate's reason.

    Returns:
        URIs of the stages that hold both models, and both version numbers.

    Raises:
        BadInput: the alias cannot be moved by hand, or the reason is too long; there is no such
            version, no version has the alias, the challenger has it already, or files of one of
            the two are missing.
    """
    PromotionOrder(alias, reason).validate()  # promote would refuse it only hours later
    home = open_store(store)
    client = mlflow_client(store)
    number = ask_mlflow(lambda: read_model(client, name)).aliases.get(alias)
    challenger = ask_mlflow(lambda: read_version(client, name, version))
    if number is None:
        raise BadInput(
            f"{name!r} has no {alias} to compare {challenger.label} with",
            remedy=f"Leave --evaluate out: `lidr promote {name} {challenger.number} --to {alias}`.",
        )
    champion = ask_mlflow(lambda: read_version(client, name, str(number)))
    if champion.number == challenger.number:
        raise BadInput(f"{challenger.label} is {alias} already", remedy="Name another version.")
    for each in (champion, challenger):
        require_files(each)
    emit("note", message=f"{challenger.label} against {champion.label}")
    return Nomination(
        champion=stage_of_files(home, files_of(champion)),
        challenger=stage_of_files(home, files_of(challenger)),
        champion_number=champion.number,
        challenger_number=challenger.number,
    )
