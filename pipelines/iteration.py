"""One iteration, M_t to M_{t+1}, as in the paper (arXiv 2410.08964, section 3)."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from lidr.components.evaluate.component import evaluate
from lidr.components.judge.component import judge
from lidr.components.pair.component import pair
from lidr.components.shared.config.pairing import RewardStep
from lidr.components.train.component import train
from lidr.pipelines.placement import Placement
from lidr.pipelines.rollout import build_rollout


def build_iteration(
    place: Placement,
    shards: int,
    launch: str,
    judged: bool = False,
    roll_out: str = "",
    reward_step: RewardStep = "translate",
) -> BaseComponent:
    """Return the sub-pipeline of one iteration, its tasks placed.

    It has no outputs: its steps note their stages on the store, where `conclude` finds them. A
    task outside a `dsl.If` may not read outputs from inside it, and `dsl.OneOf` fails on the
    backend when the branch was skipped.

    Args:
        place: applies the profile to a task.
        shards: workers that generate and translate.
        launch: how the ranks of the train step are started.
        judged: whether a judge judges every model's answers.
        roll_out: how shards are started.
        reward_step: what the rewarder needs between generate and pair.
    """
    answer = build_rollout(place, shards, roll_out, reward_step)
    learn = _build_learning(place, launch, judged)

    @dsl.pipeline(name="iteration")
    def iteration(
        recipe: str,
        store: str,
        run: str,
        number: int,
        inputs: str,
        model: str,
        evaluation: str,
        verdict: str,
    ) -> None:
        """Make M_{t+1} from M_t, unless the loop has stopped.

        Args:
            recipe: the resolved recipe as JSON, or its reference on the store.
            store: URI of the store.
            run: name of the run.
            number: t + 1.
            inputs: URI of the stage `prepare`, which holds the prompts.
            model: URI of the stage that holds M_t.
            evaluation: URI of the evaluate stage of M_t.
            verdict: anything but `continue` skips the iteration.
        """
        common = {"recipe": recipe, "store": store, "run": run, "iteration": number}
        with dsl.If(verdict == "continue"):
            responses, rewards = answer(**common, inputs=inputs, model=model)
            paired = place(
                pair(
                    **common,
                    inputs=inputs,
                    responses=responses,
                    rewards=rewards,
                    model=model,
                )
            ).outputs
            learn(
                **common,
                inputs=inputs,
                pairs=paired["pairs"],
                model=model,
                evaluation=evaluation,
                next_step=paired["next_step"],
            ).set_caching_options(False)

    return iteration


def _build_learning(place: Placement, launch: str, judged: bool) -> BaseComponent:
    """Return the sub-pipeline of training and measuring, which the reward check may skip.

    It is a separate sub-pipeline because `kfp.local` evaluates a `dsl.If` on a task's named output
    as False.
    """

    @dsl.pipeline(name="learn")
    def learn(
        recipe: str,
        store: str,
        run: str,
        iteration: int,
        inputs: str,
        pairs: str,
        model: str,
        evaluation: str,
        next_step: str,
    ) -> None:
        """Train M_{t+1} on the pairs and measure it, unless the reward check has stopped the loop.

        Args:
            recipe: the resolved recipe as JSON, or its reference on the store.
            store: URI of the store.
            run: name of the run.
            iteration: t + 1.
            inputs: URI of the stage `prepare`, which holds M_0.
            pairs: URI of the pair stage.
            model: URI of the stage that holds M_t.
            evaluation: URI of the evaluate stage of M_t.
            next_step: anything but `train` skips it all.
        """
        common = {"recipe": recipe, "store": store, "run": run, "iteration": iteration}
        with dsl.If(next_step == "train"):
            trained = place(
                train(**common, inputs=inputs, pairs=pairs, model=model, launch=launch)
            ).output
            measured = place(evaluate(**common, inputs=inputs, model=trained)).outputs["Output"]
            if judged:
                place(judge(**common, evaluation=measured, before=evaluation))

    return learn
