"""The KFP face of the world step."""

from lidr.components.shared.component import image_component


@image_component
def build_world(recipe: str, store: str, run: str) -> str:
    """Prepare M_0, the prompts and the evaluation items.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for tracking only.

    Returns:
        URI of the world stage, which is also the stage that holds M_0.
    """
    from lidr.components.prepare import run as step

    return step.build_world(recipe=recipe, store=store, run=run)
