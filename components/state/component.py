"""The KFP faces of the loop's memory."""

from typing import NamedTuple

from components.shared.component import image_component


@image_component
def write_state(
    recipe: str,
    store: str,
    run: str,
    iteration: int,
    world: str,
    responses: str,
    translations: str,
    pairs: str,
    model: str,
    evaluation: str,
    judgements: str,
    decision: str,
    version: str,
) -> str:
    """Write down what an iteration made.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        run: name of the run.
        iteration: 0 for the start, t + 1 for the iteration that made M_{t+1}.
        world: URI of the world stage.
        responses: URI of the generate stage; empty at the start.
        translations: URI of the translate stage; empty at the start.
        pairs: URI of the pair stage; empty at the start.
        model: URI of the stage that holds the iteration's model.
        evaluation: URI of the evaluate stage.
        judgements: URI of the judge stage; empty without a judge.
        decision: URI of the gate stage; empty at the start.
        version: the registered version.

    Returns:
        The verdict: `continue` or `stop`.
    """
    from components.state import run as step

    return step.write_state(
        recipe=recipe,
        store=store,
        run=run,
        iteration=iteration,
        world=world,
        responses=responses,
        translations=translations,
        pairs=pairs,
        model=model,
        evaluation=evaluation,
        judgements=judgements,
        decision=decision,
        version=version,
    )


@image_component
def next_state(
    store: str,
    run: str,
    iteration: int,
    model: str,
    evaluation: str,
    judgements: str,
    version: str,
    verdict: str,
) -> NamedTuple(  # type: ignore[valid-type]
    "State",
    [
        ("model", str),
        ("evaluation", str),
        ("judgements", str),
        ("version", str),
        ("verdict", str),
    ],
):
    """Read what the next iteration starts from; after a stop, hand on the state as it was.

    Args:
        store: URI of the store.
        run: name of the run.
        iteration: t + 1, the iteration that has just ended or was skipped.
        model: URI of the stage that holds M_t.
        evaluation: URI of the evaluate stage of M_t.
        judgements: URI of the judge stage of M_t; empty without a judge.
        version: registered version of M_t.
        verdict: the verdict before this iteration; anything but `continue` skipped it.

    Returns:
        The promoted model, its evaluation and judgements, its registered version, and the verdict.
    """
    from components.state import run as step

    return step.next_state(
        store=store,
        run=run,
        iteration=iteration,
        model=model,
        evaluation=evaluation,
        judgements=judgements,
        version=version,
        verdict=verdict,
    )


@image_component
def resume_state(store: str, run: str, iteration: int) -> NamedTuple(  # type: ignore[valid-type]
    "Resumed",
    [
        ("world", str),
        ("model", str),
        ("evaluation", str),
        ("judgements", str),
        ("version", str),
        ("verdict", str),
    ],
):
    """Read what an iteration starts from, where the ones before it are not run again.

    Args:
        store: URI of the store.
        run: name of the run.
        iteration: t, the last iteration that is not run again.

    Returns:
        The world stage, the promoted model, its evaluation, judgements and version, the verdict.
    """
    from components.state import run as step

    return step.resume_state(store=store, run=run, iteration=iteration)
