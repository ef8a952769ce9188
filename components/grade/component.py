"""The KFP face of the grade step."""

from lidr.components.shared.component import image_component


@image_component
def grade(recipe: str, store: str, run: str, inputs: str, responses: str, iteration: int) -> str:
    """Let the recipe's judge grade M_t's responses from 0 to 10.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        iteration: t + 1.

    Returns:
        URI of the grade stage.
    """
    from lidr.components.grade import run as step

    return step.grade(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        responses=responses,
        iteration=iteration,
    )
