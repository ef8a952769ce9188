"""The KFP face of the generate step."""

from kfp import dsl

from lidr.components.shared.component import image_component


@image_component
def generate(
    recipe: str,
    store: str,
    run: str,
    inputs: str,
    model: str,
    iteration: int,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Let M_t answer this iteration's prompts in every language.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        inputs: URI of the stage `prepare`, which holds the prompts.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        metrics: throughput, cache hit rate and failure shares.

    Returns:
        URI of the generate stage.
    """
    from lidr.components.generate import run as step

    return step.generate(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        model=model,
        iteration=iteration,
        log=metrics.log_metric,
    )
