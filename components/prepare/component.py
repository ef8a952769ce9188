"""The KFP face of the step `prepare`."""

from lidr.components.shared.component import image_component


@image_component
def prepare(recipe: str, store: str, run: str) -> str:
    """Prepare M_0, the prompts and the evaluation items.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage `prepare`, which is also the stage that holds M_0.
    """
    from lidr.components.prepare import run as step

    return step.prepare(recipe=recipe, store=store, run=run)
