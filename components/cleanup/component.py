"""The KFP face of the loop's exit handler."""

from kfp import dsl

from components.shared.component import image_component


@image_component
def cleanup(store: str, run: str, status: dsl.PipelineTaskFinalStatus) -> str:
    """Remove what a failed or cancelled loop left half-made; finished work stays.

    Args:
        store: URI of the store.
        run: name of the run, for tracking only.
        status: how the loop ended; filled in by KFP.

    Returns:
        How many temporary files were removed, as text.
    """
    from components.cleanup import run as step

    return step.cleanup(store=store, run=run, state=status.state)
