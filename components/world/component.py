"""The KFP face of the world step."""

from components.shared.component import image_component


@image_component
def build_world(recipe: str, store: str) -> str:
    """Prepare M_0, the prompts and the evaluation items.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.

    Returns:
        URI of the world stage, which is also the stage that holds M_0.
    """
    from components.world import run

    return run.build_world(recipe=recipe, store=store)
