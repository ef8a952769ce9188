"""Generation and translation shared out among several workers, each with an engine of its own."""

from typing import NamedTuple

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


def build_rollout(place: Placement, shards: int) -> BaseComponent:
    """Return the sub-pipeline of a sharded rollout, its tasks placed.

    A shard translates what it has generated: nothing waits for the slowest one before merge. The
    loop has a pipeline of its own because inside it, kfp.local takes a parameter of a task that
    stands beside it for the loop's item.

    Args:
        place: puts each task where the profile wants it.
        shards: how many workers, 2 or more.
    """

    @dsl.pipeline(name="rollout")
    def rollout(recipe: str, store: str, world: str, model: str, iteration: int) -> Merged:
        """Let M_t answer and translate, in several shards.

        Args:
            recipe: the resolved recipe as JSON.
            store: URI of the store.
            world: URI of the world stage, which holds the prompts.
            model: URI of the stage that holds M_t.
            iteration: t + 1.

        Returns:
            URIs of the generate and translate stages.
        """
        common = {
            "recipe": recipe,
            "store": store,
            "world": world,
            "model": model,
            "iteration": iteration,
        }
        with dsl.ParallelFor(list(range(shards)), name="shards") as shard:
            answered = place(generate(**common, shard=shard, shards=shards))
            translated = place(
                translate(**common, responses=answered.output, shard=shard, shards=shards)
            )
        done = place(merge(**common).after(translated))
        return Merged(done.outputs["responses"], done.outputs["translations"])

    return rollout
