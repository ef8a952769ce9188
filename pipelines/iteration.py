"""One iteration, M_t to M_{t+1}, as the paper tells it (arXiv 2410.08964, section 3)."""

from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.evaluate.component import evaluate
from components.gate.component import gate
from components.judge.component import judge
from components.pair.component import pair
from components.register.component import register
from components.state.component import write_state
from components.train.component import train
from pipelines.placement import Placement
from pipelines.rollout import build_rollout


def build_iteration(
    place: Placement, shards: int, launch: str, judged: bool = False
) -> BaseComponent:
    """Return the sub-pipeline of one iteration, its tasks placed.

    It has no outputs: its last task writes them to the store. A task outside a `dsl.If` may not
    read from inside, and `dsl.OneOf` fails on the backend when the branch was skipped.

    Args:
        place: puts each task where the profile wants it.
        shards: workers that generate and translate.
        launch: how the ranks of the train step are started.
        judged: whether a judge judges every model's answers.
    """
    roll_out = build_rollout(place, shards)

    @dsl.pipeline(name="iteration")
    def iteration(
        recipe: str,
        store: str,
        run: str,
        number: int,
        max_iterations: int,
        world: str,
        model: str,
        evaluation: str,
        judgements: str,
        version: str,
        verdict: str,
    ) -> None:
        """Make M_{t+1} from M_t, unless the loop has stopped.

        Args:
            recipe: the resolved recipe as JSON.
            store: URI of the store.
            run: name of the run.
            number: t + 1.
            max_iterations: the loop stops after this many.
            world: URI of the world stage, which holds the prompts.
            model: URI of the stage that holds M_t.
            evaluation: URI of the evaluate stage of M_t.
            judgements: URI of the judge stage of M_t; empty without a judge.
            version: registered version of M_t.
            verdict: anything but `continue` skips the iteration.
        """
        common = {"recipe": recipe, "store": store, "run": run, "iteration": number}
        with dsl.If(verdict == "continue"):
            responses, translations = roll_out(**common, world=world, model=model)
            pairs = place(
                pair(
                    **common,
                    world=world,
                    responses=responses,
                    translations=translations,
                    model=model,
                )
            ).output
            trained = place(
                train(**common, world=world, pairs=pairs, model=model, launch=launch)
            ).output
            measured = place(evaluate(**common, world=world, model=trained)).output
            verdicts: dict[str, Any] = {}
            found: Any = ""
            if judged:
                found = place(judge(**common, evaluation=measured, before=evaluation)).output
                verdicts = {"judged_before": judgements, "judged_after": found}
            decision = place(
                gate(
                    **common,
                    before=evaluation,
                    after=measured,
                    max_iterations=max_iterations,
                    pairs=pairs,
                    **verdicts,
                )
            ).output
            registered = place(
                register(
                    **common,
                    world=world,
                    model=trained,
                    evaluation=measured,
                    decision=decision,
                    parent=version,
                )
            ).output
            place(
                write_state(
                    **common,
                    world=world,
                    responses=responses,
                    translations=translations,
                    pairs=pairs,
                    model=trained,
                    evaluation=measured,
                    judgements=found,
                    decision=decision,
                    version=registered,
                )
            )

    return iteration
