"""Where each task of the pipeline runs: the profile's images, resources and settings."""

from __future__ import annotations

from collections.abc import Callable

from kfp.dsl import PipelineTask

from components.shared.profile import Profile, Resources

Placement = Callable[[PipelineTask], PipelineTask]
"""Puts a task in its place, and returns it."""

KINDS = {
    "build-world": "train",
    "train": "train",
    "generate": "generate",
    "translate": "generate",
    "evaluate": "generate",
}
"""Component name to the profile's kind of step; all others are `control`."""

SETTINGS = (
    "MLFLOW_TRACKING_URI",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "HF_HOME",
    "HF_ENDPOINT",
    "LIDR_GIT_SHA",
)
"""Keys of the profile's ConfigMaps that become environment variables, where they exist. KFP wants
them named: it cannot hand over a whole ConfigMap."""

_RETRIES = 2


def place_locally(task: PipelineTask) -> PipelineTask:
    """Leave a task to the machine that the pipeline runs on."""
    return task.set_caching_options(False)


def placed_by(profile: Profile) -> Placement:
    """Return the placement that a cluster profile asks for."""

    def place(task: PipelineTask) -> PipelineTask:
        kind = KINDS.get(task.component_spec.name, "control")
        task.set_caching_options(False)
        task.set_container_image(getattr(profile.images, kind))
        _give_resources(task, getattr(profile.steps, kind))
        _give_settings(task, profile)
        return _retry(task)

    return place


def _give_resources(task: PipelineTask, resources: Resources) -> None:
    from kfp import kubernetes

    task.set_cpu_request(resources.cpu)
    task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if resources.accelerators:
        task.set_accelerator_type(resources.accelerator_type)
        task.set_accelerator_limit(resources.accelerators)
    for label, value in resources.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for toleration in resources.tolerations:
        given = {key: value for key, value in toleration.model_dump().items() if value}
        kubernetes.add_toleration(task, **given)


def _give_settings(task: PipelineTask, profile: Profile) -> None:
    from kfp import kubernetes

    for name in profile.config_maps:
        keys = {key: key for key in SETTINGS}
        kubernetes.use_config_map_as_env(task, name, keys, optional=True)
    for name, secret_keys in profile.secrets.items():
        kubernetes.use_secret_as_env(task, name, {key: key for key in secret_keys})


def _retry(task: PipelineTask) -> PipelineTask:
    """Try again after a lost node or a network fault: finished chunks and checkpoints are kept."""
    return task.set_retry(
        _RETRIES, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s"
    )
