"""The KFP face of the train step."""

from kfp import dsl

from lidr.components.shared.component import image_component


@image_component(
    task_config_passthroughs=[
        dsl.TaskConfigField.RESOURCES,
        dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
        dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
        dsl.TaskConfigField.KUBERNETES_AFFINITY,
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
    ]
)
def train(
    recipe: str,
    store: str,
    run: str,
    inputs: str,
    pairs: str,
    model: str,
    iteration: int,
    launch: str,
    placement: dsl.TaskConfig,
) -> str:
    """Train M_t into M_{t+1} on preference pairs: L_DPO + alpha * L_NLL.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run, for its lease, notes and tracking.
        inputs: URI of the stage `prepare`, which holds M_0.
        pairs: URI of the pair stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.
        launch: how the ranks are started, from the profile.
        placement: resources and node selection for the nodes of a TrainJob; filled in by KFP.

    Returns:
        URI of the train stage, which holds M_{t+1}.
    """
    from lidr.components.train import run as step

    return step.train(
        recipe=recipe,
        store=store,
        run=run,
        inputs=inputs,
        pairs=pairs,
        model=model,
        iteration=iteration,
        launch=launch,
        placement=placement,
    )
