"""Generation and translation, by one worker or by several with an engine of their own each."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.generate.component import generate
from components.merge.component import merge
from components.translate.component import translate
from pipelines.placement import Placement


class Merged(NamedTuple):
    """URIs of the finished stages."""

    responses: str
    translations: str


RollOut = Callable[..., tuple[Any, Any]]
"""Takes `recipe`, `store`, `run`, `world`, `model` and `iteration`; adds its tasks to the pipeline
being built and returns their outputs: the URIs of the generate and translate stages."""


def build_rollout(place: Placement, shards: int) -> RollOut:
    """Return what lets M_t answer and translate: two tasks, or a sub-pipeline where shards share.

    Args:
        place: puts each task where the profile wants it.
        shards: how many workers.
    """
    if shards > 1:
        sharded = _build_sharded(place, shards)

        def in_shards(**given: Any) -> tuple[Any, Any]:
            outputs = sharded(**given).set_caching_options(False).outputs
            return outputs["responses"], outputs["translations"]

        return in_shards

    def alone(**given: Any) -> tuple[Any, Any]:
        responses = place(generate(**given)).outputs["Output"]
        return responses, place(translate(**given, responses=responses)).outputs["Output"]

    return alone


def _build_sharded(place: Placement, shards: int) -> BaseComponent:
    """Return the sub-pipeline of a sharded rollout, its tasks placed.

    A shard translates what it has generated: nothing waits for the slowest one before merge. The
    loop has a pipeline of its own because inside it, kfp.local takes a parameter of a task that
    stands beside it for the loop's item.
    """

    @dsl.pipeline(name="rollout")
    def rollout(
        recipe: str, store: str, run: str, world: str, model: str, iteration: int
    ) -> Merged:
        """Let M_t answer and translate, in several shards.

        Args:
            recipe: the resolved recipe as JSON.
            store: URI of the store.
            run: name of the run, for tracking only.
            world: URI of the world stage, which holds the prompts.
            model: URI of the stage that holds M_t.
            iteration: t + 1.

        Returns:
            URIs of the generate and translate stages.
        """
        common = {
            "recipe": recipe,
            "store": store,
            "run": run,
            "world": world,
            "model": model,
            "iteration": iteration,
        }
        with dsl.ParallelFor(list(range(shards)), name="shards") as shard:
            answered = place(generate(**common, shard=shard, shards=shards))
            translated = place(
                translate(
                    **common, responses=answered.outputs["Output"], shard=shard, shards=shards
                )
            )
        done = place(merge(**common).after(translated))
        return Merged(done.outputs["responses"], done.outputs["translations"])

    return rollout
