"""The KFP face of the translate step."""

from components.shared.component import image_component


@image_component
def translate(
    recipe: str, store: str, world: str, responses: str, model: str, iteration: int
) -> str:
    """Let M_t translate its answers from and into the dominant language.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        world: URI of the world stage, which holds the prompts.
        responses: URI of the generate stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.

    Returns:
        URI of the translate stage.
    """
    from components.translate import run

    return run.translate(
        recipe=recipe,
        store=store,
        world=world,
        responses=responses,
        model=model,
        iteration=iteration,
    )
