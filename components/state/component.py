"""The KFP face of the loop's memory."""

from typing import NamedTuple

from lidr.components.shared.component import image_component


@image_component
def resume_state(recipe: str, store: str, run: str, iteration: int) -> NamedTuple(  # type: ignore[valid-type]
    "Resumed",
    [
        ("inputs", str),
        ("model", str),
        ("evaluation", str),
        ("judgements", str),
        ("version", str),
        ("verdict", str),
    ],
):
    """Read what the first iteration of a resumed run starts from.

    Args:
        recipe: the resolved recipe as JSON, or its reference on the store.
        store: URI of the store.
        run: name of the run.
        iteration: t, the last iteration that is not run again.

    Returns:
        Stage `prepare`, the promoted model, its evaluation, judgements and version, the verdict.
    """
    from lidr.components.state import run as step

    return step.resume_state(recipe=recipe, store=store, run=run, iteration=iteration)
