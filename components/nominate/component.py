"""The KFP face of the nominate step."""

from typing import NamedTuple

from lidr.components.shared.component import image_component


@image_component
def nominate(store: str, name: str, version: str, alias: str, reason: str) -> NamedTuple(  # type: ignore[valid-type]
    "Nomination",
    [
        ("champion", str),
        ("challenger", str),
        ("champion_number", int),
        ("challenger_number", int),
    ],
):
    """Look up the challenger and the version that has the alias.

    Args:
        store: URI of the store.
        name: of the registered model.
        version: the challenger, a number or an alias after @.
        alias: to move to the challenger.
        reason: why; checked here, before anything is evaluated, and used by the promote step.

    Returns:
        URIs of the stages that hold both models, and both version numbers; the champion is the
        version that has the alias, whichever alias that is.
    """
    from lidr.components.nominate import run

    return run.nominate(store=store, name=name, version=version, alias=alias, reason=reason)
