"""gate: is M_{t+1} better than M_t on the same items, and does the loop go on?"""

from __future__ import annotations

from collections.abc import Mapping

from lidr.components.gate.rule import decide
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import digest_of_uri
from lidr.components.shared.core.events import emit
from lidr.components.shared.stats.paired import compare
from lidr.components.shared.step import step
from lidr.components.shared.store.open import open_store
from lidr.components.shared.store.stage import Stage, new_stage, open_stage

VERSION = 5


@step("gate")
def gate(
    recipe: str,
    store: str,
    before: str,
    after: str,
    iteration: int,
    max_iterations: int,
    judged_before: str = "",
    judged_after: str = "",
    run: str = "",
) -> str:
    """Decide on a new model by a paired comparison with its predecessor.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        before: URI of the evaluate stage of M_t.
        after: URI of the evaluate stage of M_{t+1}.
        iteration: t + 1.
        max_iterations: the loop stops after this many iterations.
        judged_before: URI of the judge stage of M_t; empty without a judge.
        judged_after: URI of the judge stage of M_{t+1}; empty without a judge.
        run: name of the run, for its lease, notes and tracking.

    Returns:
        URI of the stage, whose counts are the decision: `decision` (promote, keep or stop),
        `verdict` (continue or stop) for the loop, `promoted`, `reason`, and every number behind
        it.

    Raises:
        BadInput: the two evaluations do not hold the same items, or none in the other languages.
    """
    settings = Recipe.model_validate_json(recipe)
    inputs = {
        "before": before,
        "after": after,
        "judged_before": judged_before,
        "judged_after": judged_after,
    }
    stage = _stage(settings, store, inputs, iteration, max_iterations)
    if stage.done():
        emit("reused")
        return stage.uri
    paired = compare(before, after, judged_before, judged_after)
    premise = open_stage(before).counts()["premise"] if iteration == 1 else None
    decision = decide(settings, paired, iteration, max_iterations, premise)
    for message in decision["remarks"]:
        emit("warning", message=message)
    emit("number", name="verdict", value=f"{decision['decision']}: {decision['reason']}")
    return stage.finish(decision)


def _stage(
    settings: Recipe, store: str, inputs: Mapping[str, str], iteration: int, max_iterations: int
) -> Stage:
    return new_stage(
        open_store(store),
        "gate",
        VERSION,
        {name: digest_of_uri(uri) for name, uri in inputs.items() if uri},
        {
            "iteration": iteration,
            "max_iterations": max_iterations,
            "seed": settings.seed,
            "languages": settings.languages.model_dump(mode="json"),
            **settings.gate.model_dump(mode="json", exclude={"max_iterations"}),
        },
    )
