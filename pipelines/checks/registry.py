"""The subjects of `lidr check`, in the order of its table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lidr.components.shared.core.errors import BadInput
from lidr.pipelines.checks import (
    capacity,
    cluster,
    endpoints,
    images,
    kubeflow,
    machine,
    model,
    objects,
    prompts,
    rights,
    store,
    tracking,
)
from lidr.pipelines.checks.api import ClusterApi
from lidr.pipelines.checks.finding import CheckInputs, Subject
from lidr.pipelines.checks.place import PlaceFinder


def subjects_of(inputs: CheckInputs, only: Sequence[str] = ()) -> dict[str, Subject]:
    """Return the subjects that make sense for a profile.

    Args:
        inputs: what is to run.
        only: names of those that are wanted; none are all.

    Raises:
        BadInput: one is named that there is not.
    """
    api = ClusterApi(inputs.request_seconds)
    found = (_of_cluster(inputs, api) if inputs.on_cluster else _of_machine(inputs)) | {
        "store": partial(store.findings, inputs, api),
        "tracking": partial(tracking.findings, inputs),
        "model": partial(model.findings, inputs),
        "prompts": partial(prompts.findings, inputs),
    }
    if inputs.on_cluster:
        found["images"] = partial(images.findings, inputs, api)
    if endpoints.asked(inputs.recipe):
        found["endpoints"] = partial(endpoints.findings, inputs)
    if strange := [name for name in only if name not in found]:
        raise BadInput(
            f"--only {strange[0]}: there is no such subject for this recipe and profile",
            remedy=f"Choose from {', '.join(found)}.",
        )
    return {name: subject for name, subject in found.items() if not only or name in only}


def _of_cluster(inputs: CheckInputs, api: ClusterApi) -> dict[str, Subject]:
    place = PlaceFinder(inputs, api)
    return {
        "kubeflow": partial(kubeflow.findings, inputs, api, place),
        "cluster": partial(cluster.findings, inputs, api),
        "objects": partial(objects.findings, inputs, api, place),
        "rights": partial(rights.findings, inputs, api, place),
        "capacity": partial(capacity.findings, inputs, api, place),
    }


def _of_machine(inputs: CheckInputs) -> dict[str, Subject]:
    return {"machine": partial(machine.findings, inputs)}
