"""The KFP face of the translate step."""

from kfp import dsl

from lidr.components.shared.component import image_component


@image_component
def translate(
    recipe: str,
    store: str,
    run: str,
    inputs: str,
    responses: str,
    model: str,
    iteration: int,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Let M_t translate its answers from and into the dominant language.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        inputs: URI of the stage `prepare`, which holds the prompts.
        responses: URI of the generate stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        metrics: throughput, cache hit rate and failure shares.

    Returns:
        URI of the translate stage.
    """
    from lidr.components.translate import run as step

    return step.translate(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        responses=responses,
        model=model,
        iteration=iteration,
        log=metrics.log_metric,
    )
