"""The KFP face of the evaluate step."""

from kfp import dsl

from lidr.components.shared.component import image_component


@image_component
def evaluate(
    recipe: str,
    store: str,
    run: str,
    inputs: str,
    model: str,
    iteration: int,
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Measure a model in every language on the recipe's benchmarks.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        inputs: URI of the stage `prepare`.
        model: URI of the stage that holds the model.
        iteration: t of the model M_t that is measured.
        metrics: accuracy, off-target and cut shares by language.

    Returns:
        URI of the evaluate stage.
    """
    from lidr.components.evaluate import run as step

    return step.evaluate(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        model=model,
        iteration=iteration,
        log=metrics.log_metric,
    )
