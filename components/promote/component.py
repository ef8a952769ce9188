"""The KFP face of the promote step."""

from lidr.components.shared.component import image_component


@image_component
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
        reason: why; empty for the gate's own.

    Returns:
        The promoted version, as `<registered model>/<version>`.
    """
    from lidr.components.promote import run

    return run.promote(
        store=store,
        name=name,
        challenger_number=challenger_number,
        champion_number=champion_number,
        alias=alias,
        decision=decision,
        reason=reason,
    )
