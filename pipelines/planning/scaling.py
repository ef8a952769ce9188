"""A profile for another number of GPUs."""

from __future__ import annotations

from lidr.components.shared.config.profile import MAX_NODES, MAX_SHARDS, Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.pipelines.step_kinds import kinds_of


def with_gpus(profile: Profile, recipe: Recipe, gpus: int) -> Profile:
    """Return a profile with as many shards and training nodes as `gpus` GPUs suffice for.

    A profile's bounds on both hold (MAX_SHARDS, MAX_NODES). Pods keep their size, except that those
    of train, and of kinds that inherit from it, have at most `gpus` GPUs.

    Args:
        profile: says how many GPUs a pod has.
        recipe: says which steps there are.
        gpus: how many may be in use at a time.

    Raises:
        BadInput: the profile's steps have no GPUs, or one of its pods needs more than `gpus`.
    """
    engine_gpus = profile.resources_of("generate").accelerators
    node_gpus = min(profile.resources_of("train").accelerators, gpus)
    if not engine_gpus or not node_gpus:
        raise BadInput(
            f"--gpus {gpus}: the profile's steps have no GPUs",
            remedy="Set steps.generate.accelerators and steps.train.accelerators in the profile.",
        )
    train = profile.steps.train.model_copy(update={"accelerators": node_gpus})
    sized = profile.model_copy(update={"steps": profile.steps.model_copy(update={"train": train})})
    shards = min(gpus // engine_gpus, MAX_SHARDS)
    kinds = set(kinds_of(recipe, shards)) - {"judge"}  # it only asks a server
    largest, kind = max((sized.resources_of(kind).accelerators, kind) for kind in kinds)
    if gpus < largest:
        raise BadInput(
            f"--gpus {gpus} are too few for one pod of {kind}, which has {largest}",
            remedy=f"Give at least {largest}, or lower steps.{kind}.accelerators.",
        )
    nodes = min(gpus // node_gpus, MAX_NODES)
    one_pod = nodes == 1 and (shards == 1 or profile.runner != "kubeflow")
    training = profile.training.model_copy(
        update={
            "nodes": nodes,
            "processes": 0,
            "launcher": profile.training.launcher if one_pod else "trainjob",
        }
    )
    return sized.model_copy(update={"shards": shards, "training": training})
