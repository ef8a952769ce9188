"""The whole loop: M_0, then iterations until the gate says stop, then the report."""

from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.cleanup.component import cleanup
from components.evaluate.component import evaluate
from components.judge.component import judge
from components.register.component import register
from components.report.component import report
from components.shared.recipe import Recipe
from components.state.component import next_state, write_state
from components.world.component import build_world
from pipelines.iteration import build_iteration
from pipelines.placement import Placement


def build_loop(
    settings: Recipe,
    store_uri: str,
    run_name: str,
    place: Placement,
    max_unroll: int,
    shards: int = 1,
    launch: str = "",
) -> BaseComponent:
    """Return the pipeline, ready to be compiled or called.

    KFP has no while loop, so the rounds stand one after another and each asks the verdict before
    it whether to do anything. How many there are is fixed when compiling; `max_iterations` bounds
    the loop when it runs.

    Args:
        settings: the recipe; the pipeline's default.
        store_uri: URI of the store; the pipeline's default.
        run_name: name of the run; the pipeline's default.
        place: puts each task where the profile wants it.
        max_unroll: rounds in the pipeline, at most 5.
        shards: workers that generate and translate.
        launch: how the ranks of the train step are started, as `Launch.text` writes it.
    """
    judged = settings.judge is not None
    iteration = build_iteration(place, shards, launch, judged)

    @dsl.pipeline(name=f"lidr-{settings.name}")
    def loop(
        recipe: str = settings.model_dump_json(),
        store: str = store_uri,
        run: str = run_name,
        max_iterations: int = settings.gate.max_iterations,
    ) -> str:
        """Let a model teach itself the languages it is weak in.

        Args:
            recipe: the resolved recipe as JSON.
            store: URI of the store, a folder or `s3://bucket/prefix`.
            run: name of the run; running it again continues it.
            max_iterations: iterations at most, within those compiled in.

        Returns:
            URI of the stage that holds the final model.
        """
        common = {"recipe": recipe, "store": store, "run": run}
        with dsl.ExitHandler(place(cleanup(store=store, run=run)), name="iterations") as iterations:
            world = place(build_world(**common)).output
            measured = place(evaluate(**common, world=world, model=world, iteration=0)).output
            judgements: Any = ""
            if judged:
                judgements = place(
                    judge(**common, evaluation=measured, before="", iteration=0)
                ).output
            registered = place(
                register(
                    **common,
                    world=world,
                    model=world,
                    evaluation=measured,
                    decision="",
                    iteration=0,
                    parent="",
                )
            ).output
            start = place(
                write_state(
                    **common,
                    iteration=0,
                    world=world,
                    responses="",
                    translations="",
                    pairs="",
                    model=world,
                    evaluation=measured,
                    judgements=judgements,
                    decision="",
                    version=registered,
                )
            )
            state = {
                "model": world,
                "evaluation": measured,
                "judgements": judgements,
                "version": registered,
                "verdict": start.output,
            }
            for number in range(1, max_unroll + 1):
                done = iteration(
                    **common,
                    number=number,
                    max_iterations=max_iterations,
                    world=world,
                    **state,
                ).set_caching_options(False)
                reached = place(next_state(store=store, run=run, iteration=number, **state))
                state = dict(reached.after(done).outputs)
        final: str = place(report(**common).after(iterations)).output
        return final

    return loop
