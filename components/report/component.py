"""The KFP face of the report step."""

from components.shared.component import image_component


@image_component
def report(recipe: str, store: str, run: str) -> str:
    """Write the run's result as JSON and as one HTML page.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.

    Returns:
        URI of the final model's folder.
    """
    from components.report import run as step

    return step.report(recipe=recipe, store=store, run=run)
