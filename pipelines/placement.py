"""Where each task of the pipeline runs: the profile's images, resources and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

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

_TRACKING = "MLFLOW_TRACKING_URI"

SETTINGS = (
    _TRACKING,
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_WORKSPACE",
    "LIDR_MLFLOW_PATIENCE",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_MAX_ATTEMPTS",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "HF_HOME",
    "HF_ENDPOINT",
    "LIDR_GIT_SHA",
)
"""Keys of the profile's ConfigMaps that become environment variables, where they exist. KFP wants
them named: it cannot hand over a whole ConfigMap."""

_RUN_ID = [{"name": "KFP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
"""Every pod of a run carries this label; a stage notes it."""

_RETRIES = 2


def place_locally(task: PipelineTask) -> PipelineTask:
    """Leave a task to the machine that the pipeline runs on."""
    return task.set_caching_options(False)


def placed_by(profile: Profile) -> Placement:
    """Return the placement that a cluster profile asks for."""

    def place(task: PipelineTask) -> PipelineTask:
        kind = KINDS.get(task.component_spec.name, "control")
        task.set_caching_options(False)
        image = getattr(profile.images, kind)
        task.set_container_image(image)
        task.set_env_variable("LIDR_IMAGE", _working_image(profile, task, image))
        if profile.training.launcher == "local":
            _keep_place(task)
        if profile.tracking_uri:
            task.set_env_variable(_TRACKING, profile.tracking_uri)
        _give_resources(task, getattr(profile.steps, kind))
        task.platform_config["kubernetes"] = kubernetes_config(
            profile, getattr(profile.steps, kind)
        )
        return _retry(task)

    return place


def _working_image(profile: Profile, task: PipelineTask, image: str) -> str:
    """Return the image that a stage will note: that of training may be the nodes' own."""
    return profile.training.image or image if task.component_spec.name == "train" else image


def kubernetes_config(profile: Profile, resources: Resources) -> dict[str, object]:
    """Return what kfp-kubernetes would write into a task; a test compares the two.

    Its own functions import the whole Kubernetes client first, which makes `lidr compile` wait for
    a second.
    """
    settings = [key for key in SETTINGS if key != _TRACKING or not profile.tracking_uri]
    config: dict[str, object] = {
        "configMapAsEnv": [
            _environment("configMap", name, settings, optional=True) for name in profile.config_maps
        ],
        "secretAsEnv": [
            _environment("secret", name, keys, optional=False)
            for name, keys in profile.secrets.items()
        ],
        "fieldPathAsEnv": _RUN_ID,
        "nodeSelector": {"labels": resources.node_selector} if resources.node_selector else {},
        "tolerations": [
            {key: value for key, value in toleration.model_dump().items() if value}
            for toleration in resources.tolerations
        ],
        # Pod Security's restricted profile wants it said; KFP's backend sets the rest of it.
        "securityContext": {"runAsNonRoot": True},
    }
    return {key: value for key, value in config.items() if value}


def _keep_place(task: PipelineTask) -> None:
    """Give a step the resources itself that it would hand on to a TrainJob."""
    task.component_spec = replace(task.component_spec, task_config_passthroughs=None)


def _environment(kind: str, name: str, keys: Sequence[str], *, optional: bool) -> dict[str, object]:
    return {
        f"{kind}Name": name,
        f"{kind}NameParameter": {"runtimeValue": {"constant": name}},
        "keyToEnv": [{f"{kind}Key": key, "envVar": key} for key in keys],
        "optional": optional,
    }


def _give_resources(task: PipelineTask, resources: Resources) -> None:
    task.set_cpu_request(resources.cpu)
    task.set_memory_limit(resources.memory)  # Kubernetes requests as much
    if resources.accelerators:
        task.set_accelerator_type(resources.accelerator_type)
        task.set_accelerator_limit(resources.accelerators)


def _retry(task: PipelineTask) -> PipelineTask:
    """Try again after a lost node or a network fault: finished chunks and checkpoints are kept."""
    return task.set_retry(
        _RETRIES, backoff_duration="30s", backoff_factor=2.0, backoff_max_duration="600s"
    )
