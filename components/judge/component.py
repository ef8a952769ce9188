"""The KFP face of the judge step."""

from lidr.components.shared.component import image_component


@image_component
def judge(recipe: str, store: str, run: str, evaluation: str, before: str, iteration: int) -> str:
    """Let a language model judge a model's open-ended answers.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        evaluation: URI of the evaluate stage of M_t, which holds the answers.
        before: URI of the evaluate stage of M_{t-1}, for head to head; empty for M_0.
        iteration: t of the model M_t whose answers are judged.

    Returns:
        URI of the judge stage.
    """
    from lidr.components.judge import run as step

    return step.judge(
        recipe=recipe,
        store=store,
        run=run,
        evaluation=evaluation,
        before=before,
        iteration=iteration,
    )
