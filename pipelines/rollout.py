"""Generation and translation: two tasks, or one that several shards share."""

from collections.abc import Callable
from typing import Any

from lidr.components.generate.component import generate
from lidr.components.translate.component import translate
from lidr.pipelines.placement import Placement
from lidr.pipelines.tasks.component import roll_out

RollOut = Callable[..., tuple[Any, Any]]
"""Takes `recipe`, `store`, `run`, `inputs`, `model` and `iteration`; adds its tasks to the pipeline
being built and returns their outputs: the URIs of the generate and translate stages."""


def build_rollout(place: Placement, shards: int, launch: str) -> RollOut:
    """Return what lets M_t answer and translate.

    Args:
        place: puts each task where the profile wants it.
        shards: how many workers share the work.
        launch: how they are started where there are several.
    """

    def in_shards(**given: Any) -> tuple[Any, Any]:
        outputs = place(roll_out(**given, shards=shards, launch=launch)).outputs
        return outputs["responses"], outputs["translations"]

    def alone(**given: Any) -> tuple[Any, Any]:
        responses = place(generate(**given)).outputs["Output"]
        return responses, place(translate(**given, responses=responses)).outputs["Output"]

    return in_shards if shards > 1 else alone
