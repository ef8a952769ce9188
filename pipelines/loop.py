"""The whole loop: M_0, then iterations until the gate says stop, then the report."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.cleanup.component import cleanup
from components.evaluate.component import evaluate
from components.judge.component import judge
from components.news.component import look
from components.register.component import register
from components.report.component import report
from components.shared.recipe import Recipe
from components.state.component import next_state, resume_state, write_state
from components.world.component import build_world
from pipelines.iteration import build_iteration
from pipelines.placement import Placement


@dataclass(frozen=True)
class Shape:
    """What of the loop a pipeline holds.

    Attributes:
        rounds: the last iteration compiled in, at most 5.
        first: the first one; those before it are taken from the run's state.
        watching: whether a look at the inputs comes first, and decides whether the rest happens.
    """

    rounds: int
    first: int = 1
    watching: bool = False


@dataclass(frozen=True)
class _Rounds:
    """The rounds of a loop, and what stands before them."""

    place: Placement
    iteration: BaseComponent
    shape: Shape
    judged: bool

    def add(self, recipe: Any, store: Any, run: Any, max_iterations: Any) -> Any:
        """Add the tasks to the pipeline being built; return the last one."""
        common = {"recipe": recipe, "store": store, "run": run}
        if self.shape.first > 1:
            world, state, last = self._resume(store, run)
        else:
            world, state, last = self._start(common)
        for number in range(self.shape.first, self.shape.rounds + 1):
            done = self.iteration(
                **common,
                number=number,
                max_iterations=max_iterations,
                world=world,
                **state,
            ).set_caching_options(False)
            last = self.place(next_state(store=store, run=run, iteration=number, **state))
            state = dict(last.after(done).outputs)
        return last

    def _resume(self, store: Any, run: Any) -> tuple[Any, dict[str, Any], Any]:
        task = self.place(resume_state(store=store, run=run, iteration=self.shape.first - 1))
        state = dict(task.outputs)
        return state.pop("world"), state, task

    def _start(self, common: dict[str, Any]) -> tuple[Any, dict[str, Any], Any]:
        place = self.place
        world = place(build_world(**common)).output
        measured = place(evaluate(**common, world=world, model=world, iteration=0)).output
        judgements: Any = ""
        if self.judged:
            judgements = place(judge(**common, evaluation=measured, before="", iteration=0)).output
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
        return world, state, start


def build_loop(
    settings: Recipe,
    store_uri: str,
    run_name: str,
    place: Placement,
    shape: Shape,
    shards: int = 1,
    launch: str = "",
    description: str | None = None,
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
        shape: the iterations, and whether the pipeline looks first.
        shards: workers that generate and translate.
        launch: how the ranks of the train step are started, as `Launch.text` writes it.
        description: what the pipeline says of itself; None is its docstring.
    """
    judged = settings.judge is not None
    rounds = _Rounds(place, build_iteration(place, shards, launch, judged), shape, judged)
    if shape.watching:
        return _watching(settings, store_uri, run_name, rounds, description)

    @dsl.pipeline(name=f"lidr-{settings.name}", description=description)
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
        with dsl.ExitHandler(place(cleanup(store=store, run=run)), name="iterations") as iterations:
            rounds.add(recipe, store, run, max_iterations)
        final: str = place(report(recipe=recipe, store=store, run=run).after(iterations)).output
        return final

    return loop


def _watching(
    settings: Recipe, store_uri: str, run_name: str, rounds: _Rounds, description: str | None
) -> BaseComponent:
    """Return the pipeline of a schedule: it ends at once where there is nothing new.

    It returns nothing, because what stands inside a `dsl.If` cannot be read outside.
    """
    place = rounds.place

    @dsl.pipeline(name=f"lidr-{settings.name}-watch", description=description)
    def watch(
        recipe: str = settings.model_dump_json(),
        store: str = store_uri,
        run: str = run_name,
        max_iterations: int = settings.gate.max_iterations,
    ) -> None:
        """Run the loop where prompts or base model are new.

        Args:
            recipe: the resolved recipe as JSON.
            store: URI of the store, `s3://bucket/prefix`.
            run: what the names of the runs begin with.
            max_iterations: iterations at most, within those compiled in.
        """
        with dsl.ExitHandler(place(cleanup(store=store, run="")), name="iterations"):
            found = place(look(recipe=recipe, store=store, name=run)).output
            with dsl.If(found != "", name="news"):
                last = rounds.add(recipe, store, found, max_iterations)
                place(report(recipe=recipe, store=store, run=found).after(last))

    return watch
