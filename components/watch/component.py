"""The KFP face of the step `watch`."""

from lidr.components.shared.component import image_component


@image_component
def check_inputs(recipe: str, store: str, name: str) -> str:
    """Return whether prompts or base model are new since the last run, without a GPU.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        name: what the names of a schedule's runs begin with.

    Returns:
        Name of the run to do; empty if nothing is new.
    """
    from lidr.components.watch import run as step

    return step.check_inputs(recipe=recipe, store=store, name=name)
