"""The KFP face of the gate step."""

from lidr.components.shared.component import image_component


@image_component
def gate(
    recipe: str,
    store: str,
    run: str,
    before: str,
    after: str,
    iteration: int,
    max_iterations: int,
    judged_before: str = "",
    judged_after: str = "",
) -> str:
    """Compare M_{t+1} with M_t on the same items: promote, keep M_t or stop.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        before: URI of the evaluate stage of M_t.
        after: URI of the evaluate stage of M_{t+1}.
        iteration: t + 1.
        max_iterations: the loop stops after this many iterations.
        judged_before: URI of the judge stage of M_t; empty without a judge.
        judged_after: URI of the judge stage of M_{t+1}; empty without a judge.

    Returns:
        URI of the gate stage, whose marker holds the decision.
    """
    from lidr.components.gate import run as step

    return step.gate(
        recipe=recipe,
        store=store,
        run=run,
        before=before,
        after=after,
        iteration=iteration,
        max_iterations=max_iterations,
        judged_before=judged_before,
        judged_after=judged_after,
    )
