"""Generation, and what the rewarder needs after it; several shards share one task."""

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
being built and returns their outputs: the URIs of the generate stage, and of the stage that says
which answer is better."""


def build_rollout(
    place: Placement, shards: int, launch: str, reward_step: RewardStep = "translate"
) -> RollOut:
    """Return what lets M_t answer, and translate or have its answers scored or graded.

    Args:
        place: puts each task where the profile wants it.
        shards: how many workers share the engine's work.
        launch: how they are started where there are several.
        reward_step: what the rewarder needs; the other two steps are not in the pipeline.
    """

    def in_shards(**given: Any) -> tuple[Any, Any]:
        outputs = place(roll_out(**given, shards=shards, launch=launch)).outputs
        if reward_step == "translate":
            return outputs["responses"], outputs["translations"]
        return outputs["responses"], rewarded(outputs["responses"], **given)

    def alone(**given: Any) -> tuple[Any, Any]:
        responses = place(generate(**given)).outputs["Output"]
        if reward_step == "translate":
            return responses, place(translate(**given, responses=responses)).outputs["Output"]
        return responses, rewarded(responses, **given)

    def rewarded(responses: Any, model: Any, **given: Any) -> Any:
        if reward_step == "score":
            return place(score(**given, responses=responses, model=model)).output
        return place(grade(**given, responses=responses)).output

    return in_shards if shards > 1 else alone
