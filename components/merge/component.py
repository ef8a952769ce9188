"""The KFP face of the merge step."""

from typing import NamedTuple

from components.shared.component import image_component


@image_component
def merge(recipe: str, store: str, run: str, world: str, model: str, iteration: int) -> NamedTuple(  # type: ignore[valid-type]
    "Merged", [("responses", str), ("translations", str)]
):
    """Finish the generate and translate stages that several shards have written.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for tracking only.
        world: URI of the world stage, which holds the prompts.
        model: URI of the stage that holds M_t.
        iteration: t + 1.

    Returns:
        URIs of the two stages.
    """
    from components.merge import run as step

    return step.merge(
        recipe=recipe, store=store, run=run, world=world, model=model, iteration=iteration
    )
