"""Generation and the step that the rewarder needs after it; several shards are one task."""

from collections.abc import Callable
from typing import Any

from lidr.components.generate.component import generate
from lidr.components.grade.component import grade
from lidr.components.score.component import score
from lidr.components.shared.config.pairing import RewardStep
from lidr.components.translate.component import translate
from lidr.pipelines.placement import Placement
from lidr.pipelines.tasks.component import roll_out

RollOut = Callable[..., tuple[Any, Any]]
"""Takes `recipe`, `store`, `run`, `inputs`, `model` and `iteration`; adds its tasks to the pipeline
being built and returns the URIs of the generate stage and of the rewarder's stage (translate, score
or grade)."""


def build_rollout(
    place: Placement, shards: int, launch: str, reward_step: RewardStep = "translate"
) -> RollOut:
    """Return a function that adds the tasks of a rollout to a pipeline.

    Args:
        place: applies the profile to a task.
        shards: number of workers that generate and translate.
        launch: how they are started if there are several.
        reward_step: the step that the rewarder needs; the other two are not in the pipeline.
    """

    def in_shards(**given: Any) -> tuple[Any, Any]:
        outputs = place(roll_out(**given, shards=shards, launch=launch)).outputs
        if reward_step == "translate":
            return outputs["responses"], outputs["translations"]
        return outputs["responses"], rewarded(outputs["responses"], **given)

    def unsharded(**given: Any) -> tuple[Any, Any]:
        responses = place(generate(**given)).outputs["Output"]
        if reward_step == "translate":
            return responses, place(translate(**given, responses=responses)).outputs["Output"]
        return responses, rewarded(responses, **given)

    def rewarded(responses: Any, model: Any, **given: Any) -> Any:
        if reward_step == "score":
            return place(score(**given, responses=responses, model=model)).output
        return place(grade(**given, responses=responses)).output

    return in_shards if shards > 1 else unsharded
