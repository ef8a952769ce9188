"""The KFP face of the register step."""

from components.shared.component import image_component


@image_component
def register(
    recipe: str,
    store: str,
    run: str,
    world: str,
    model: str,
    evaluation: str,
    decision: str,
    iteration: int,
    parent: str,
) -> str:
    """Register a model in MLflow by its URI.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        world: URI of the world stage.
        model: URI of the stage that holds the model.
        evaluation: URI of its evaluate stage.
        decision: URI of its gate stage; empty for M_0.
        iteration: t of the model M_t.
        parent: registered version that it was trained from; empty for M_0.

    Returns:
        The registered version, as `<registered model>/<version>`.
    """
    from components.register import run as step

    return step.register(
        recipe=recipe,
        store=store,
        run=run,
        world=world,
        model=model,
        evaluation=evaluation,
        decision=decision,
        iteration=iteration,
        parent=parent,
    )
