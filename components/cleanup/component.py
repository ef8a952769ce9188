"""The KFP face of the loop's exit handler."""

from kfp import dsl

from components.shared.component import image_component


@image_component
def cleanup(store: str, status: dsl.PipelineTaskFinalStatus) -> str:
    """Remove what a failed or cancelled loop left half-made; finished work stays.

    Args:
        store: URI of the store.
        status: how the loop ended; filled in by KFP.

    Returns:
        How many temporary files were removed, as text.
    """
    from components.cleanup import run

    return run.cleanup(store=store, state=status.state)
