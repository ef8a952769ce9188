"""The KFP face of the train step."""

from components.shared.component import image_component


@image_component
def train(recipe: str, store: str, world: str, pairs: str, model: str, iteration: int) -> str:
    """Train M_t into M_{t+1} on preference pairs: L_DPO + alpha * L_NLL.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        world: URI of the world stage, which holds M_0.
        pairs: URI of the pair stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.

    Returns:
        URI of the train stage, which holds M_{t+1}.
    """
    from components.train import run

    return run.train(
        recipe=recipe, store=store, world=world, pairs=pairs, model=model, iteration=iteration
    )
