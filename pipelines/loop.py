"""The whole loop: M_0, then iterations until the gate says stop; the exit task reports."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask
from kfp.dsl.base_component import BaseComponent

from lidr.components.evaluate.component import evaluate
from lidr.components.judge.component import judge
from lidr.components.prepare.component import prepare
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.recipes import reference_of
from lidr.components.state.component import resume_state
from lidr.components.state.run import State
from lidr.components.watch.component import check_inputs
from lidr.pipelines.iteration import build_iteration
from lidr.pipelines.placement import Placement
from lidr.pipelines.tasks.component import conclude, finish


@dataclass(frozen=True)
class LoopShape:
    """The parts of the loop that a pipeline holds.

    Attributes:
        rounds: the last iteration compiled in, at most `MAX_ITERATIONS`.
        first: the first iteration compiled in; earlier ones are in the run's state.
        resumed: whether an earlier execution of the run has evaluated M_0.
        watching: whether `check_inputs` comes first, and the rest only runs if inputs are new.
    """

    rounds: int
    first: int = 1
    resumed: bool = False
    watching: bool = False


@dataclass(frozen=True)
class _Rounds:
    """The rounds of a loop, and what comes before them.

    Attributes:
        place: applies the profile to a task.
        iteration: the sub-pipeline of one round.
        shape: which rounds there are.
        judged: whether a judge judges every model's answers.
        inline_recipe: the recipe as JSON, if the first task must put it on the store; else "".
    """

    place: Placement
    iteration: BaseComponent
    shape: LoopShape
    judged: bool
    inline_recipe: str

    def add(self, recipe: Any, store: Any, run: Any, max_iterations: Any) -> None:
        """Add the tasks to the pipeline being built."""
        common = {"recipe": recipe, "store": store, "run": run}
        begin = self._resume if self.shape.resumed else self._start
        inputs, state = begin(common, max_iterations)
        for number in range(self.shape.first, self.shape.rounds + 1):
            known = {name: state[name] for name in ("model", "evaluation", "verdict")}
            done = self.iteration(**common, number=number, inputs=inputs, **known)
            concluded: PipelineTask = self.place(
                conclude(
                    **common,
                    iteration=number,
                    max_iterations=max_iterations,
                    inputs=inputs,
                    **state,
                )
            )
            state = _state(concluded.after(done.set_caching_options(False)))

    def _resume(self, common: dict[str, Any], _: Any) -> tuple[Any, dict[str, Any]]:
        """Add the task that reads what the first round starts from in the run's state."""
        known = common | ({"recipe": self.inline_recipe} if self.inline_recipe else {})
        state = dict(self.place(resume_state(**known, iteration=self.shape.first - 1)).outputs)
        return state.pop("inputs"), state

    def _start(self, common: dict[str, Any], max_iterations: Any) -> tuple[Any, dict[str, Any]]:
        """Add the tasks that prepare, measure and register M_0."""
        place = self.place
        put = self.inline_recipe and not self.shape.watching
        known = common | ({"recipe": self.inline_recipe} if put else {})
        inputs = place(prepare(**known)).output
        last = place(evaluate(**common, inputs=inputs, model=inputs, iteration=0))
        if self.judged:
            measured = last.outputs["Output"]
            last = place(judge(**common, evaluation=measured, before="", iteration=0))
        nothing = dict.fromkeys(("model", "evaluation", "judgements", "version"), "")
        start = place(
            conclude(
                **common,
                iteration=0,
                max_iterations=max_iterations,
                inputs=inputs,
                verdict="continue",
                **nothing,
            )
        )
        return inputs, _state(start.after(last))


def _state(concluded: PipelineTask) -> dict[str, Any]:
    """Return the outputs that the next iteration starts from; metrics are only shown."""
    return {name: concluded.outputs[name] for name in State._fields}


def build_loop(
    settings: Recipe,
    store_uri: str,
    run_name: str,
    place: Placement,
    shape: LoopShape,
    shards: int = 1,
    launch: str = "",
    description: str | None = None,
    *,
    by_reference: bool = False,
    on_store: bool = False,
    roll_out: str = "",
) -> BaseComponent:
    """Return the pipeline, ready to be compiled or called.

    KFP has no while loop, so the rounds follow one another, and each runs only if the verdict
    before it is `continue`. Their number is fixed when compiling; `max_iterations` bounds the loop
    when it runs. Nothing follows the exit handler: if a task after it were omitted because of a
    failure inside it, Kubeflow would call the run succeeded.

    Args:
        settings: the recipe; the pipeline's default.
        store_uri: URI of the store; the pipeline's default.
        run_name: name of the run; the pipeline's default.
        place: applies the profile to a task.
        shape: which iterations it holds, and how it starts.
        shards: workers that generate and translate.
        launch: how the ranks of the train step are started, from `Launch.text`.
        description: the pipeline's description; None: its docstring.
        by_reference: whether tasks get the recipe's reference on the store instead of the recipe.
        on_store: whether the recipe is on the store already; else the first task puts it there.
        roll_out: how shards are started, from `Launch.text`; "": on this machine.
    """
    judged, reward_step = settings.is_judged, settings.pairing.reward_step
    text = settings.model_dump_json()
    given = reference_of(settings) if by_reference else text
    inline = text if by_reference and not on_store else ""
    iteration = build_iteration(place, shards, launch, judged, roll_out, reward_step)
    rounds = _Rounds(place, iteration, shape, judged, inline)
    if shape.watching:
        return _watching(settings, store_uri, run_name, rounds, description, given)

    @dsl.pipeline(name=f"lidr-{settings.name}", description=description)
    def loop(
        recipe: str = given,
        store: str = store_uri,
        run: str = run_name,
        max_iterations: int = settings.gate.max_iterations,
    ) -> None:
        """Let a model teach itself the languages it is weak in.

        Args:
            recipe: the resolved recipe as JSON, or its reference on the store.
            store: URI of the store, a folder or `s3://bucket/prefix`.
            run: name of the run; running it again continues it.
            max_iterations: iterations at most, within those compiled in.
        """
        with dsl.ExitHandler(place(finish(recipe=recipe, store=store, run=run)), name="iterations"):
            rounds.add(recipe, store, run, max_iterations)

    return loop


def _watching(
    settings: Recipe,
    store_uri: str,
    run_name: str,
    rounds: _Rounds,
    description: str | None,
    given: str,
) -> BaseComponent:
    """Return the pipeline of a schedule, which ends at once if no input is new."""
    place = rounds.place

    @dsl.pipeline(name=f"lidr-{settings.name}-watch", description=description)
    def watch(
        recipe: str = given,
        store: str = store_uri,
        run: str = run_name,
        max_iterations: int = settings.gate.max_iterations,
    ) -> None:
        """Run the loop if prompts or base model are new.

        Args:
            recipe: the resolved recipe as JSON, or its reference on the store.
            store: URI of the store, `s3://bucket/prefix`.
            run: what the names of the runs begin with.
            max_iterations: iterations at most, within those compiled in.
        """
        with dsl.ExitHandler(place(finish(recipe=recipe, store=store, run="")), name="iterations"):
            given_recipe = rounds.inline_recipe or recipe
            found = place(check_inputs(recipe=given_recipe, store=store, name=run)).output
            with dsl.If(found != "", name="changed"):
                rounds.add(recipe, store, found, max_iterations)

    return watch
