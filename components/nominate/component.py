"""The KFP face of the nominate step."""

from typing import NamedTuple

from lidr.components.shared.component import image_component


@image_component
def nominate(store: str, name: str, version: str, alias: str) -> NamedTuple(  # type: ignore[valid-type]
    "Nomination",
    [("champion", str), ("challenger", str), ("standing", int), ("number", int)],
):
    """Look up a version and the one that it wants to replace.

    Args:
        store: URI of the store.
        name: of the registered model.
        version: the challenger, a number or an alias after @.
        alias: that it wants.

    Returns:
        URIs of the stages that hold both models, and both version numbers.
    """
    from lidr.components.nominate import run

    return run.nominate(store=store, name=name, version=version, alias=alias)
