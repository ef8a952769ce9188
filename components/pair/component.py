"""The KFP face of the pair step."""

from typing import NamedTuple

from lidr.components.shared.component import image_component


@image_component
def pair(
    recipe: str,
    store: str,
    run: str,
    inputs: str,
    responses: str,
    rewards: str,
    model: str,
    iteration: int,
) -> NamedTuple(  # type: ignore[valid-type]
    "Paired", [("pairs", str), ("next_step", str)]
):
    """Make preference pairs of M_t's answers, and check the reward.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        rewards: URI of the stage that the rewarder needs: translate, score or grade.
        model: URI of the stage that holds M_t.
        iteration: t + 1.

    Returns:
        URI of the pair stage, and what follows: `train`, or `stop` where its reward cannot be
        trusted or there are too few pairs.
    """
    from lidr.components.pair import run as step

    return step.pair_and_check(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        responses=responses,
        rewards=rewards,
        model=model,
        iteration=iteration,
    )
