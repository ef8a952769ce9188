"""A profile for another number of GPUs."""

from __future__ import annotations

from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.pipelines.step_kinds import kinds_of


def with_gpus(profile: Profile, recipe: Recipe, gpus: int) -> Profile:
    """Return a profile whose steps use up to `gpus` GPUs at once, in pods of the same size.

    Args:
        profile: with the size of the pods.
        recipe: says which steps there are.
        gpus: at once.

    Raises:
        BadInput: the profile's steps have no GPUs, or one of its pods needs more than `gpus`.
    """
    engine = profile.resources_of("generate").accelerators
    node = profile.resources_of("train").accelerators
    if not engine or not node:
        raise BadInput(
            f"--gpus {gpus}: the profile's steps have no GPUs",
            remedy="Set steps.generate.accelerators and steps.train.accelerators in the profile.",
        )
    shards = gpus // engine
    # The nodes of train are sized below; a judge is a server.
    others = set(kinds_of(recipe, shards)) - {"train", "judge"}
    largest, kind = max((profile.resources_of(kind).accelerators, kind) for kind in others)
    if gpus < largest:
        raise BadInput(
            f"--gpus {gpus} are too few for one pod of {kind}, which has {largest}",
            remedy=f"Give at least {largest}, or lower steps.{kind}.accelerators.",
        )
    node = min(node, gpus)
    nodes = max(1, gpus // node)
    steps = profile.steps.model_copy(
        update={"train": profile.steps.train.model_copy(update={"accelerators": node})}
    )
    launcher = "trainjob" if nodes > 1 else profile.training.launcher
    training = profile.training.model_copy(
        update={"nodes": nodes, "processes": 0, "launcher": launcher}
    )
    return profile.model_copy(update={"shards": shards, "steps": steps, "training": training})
