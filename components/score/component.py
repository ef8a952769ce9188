"""The KFP face of the score step."""

from lidr.components.shared.component import image_component


@image_component
def score(
    recipe: str, store: str, run: str, inputs: str, responses: str, model: str, iteration: int
) -> str:
    """Score M_t's responses with the implicit reward of a policy and its reference.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.

    Returns:
        URI of the score stage.
    """
    from lidr.components.score import run as step

    return step.score(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        responses=responses,
        model=model,
        iteration=iteration,
    )
