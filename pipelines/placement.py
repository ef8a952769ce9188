"""Where each task of the pipeline runs: the profile's images, resources and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from kfp.dsl import PipelineTask
from kfp.dsl.structures import ResourceSpec

from lidr.components.shared.config.budget import ACCOUNT
from lidr.components.shared.config.machine import MACHINE
from lidr.components.shared.config.notify import NOTIFY_URL, Notify
from lidr.components.shared.config.pools import (
    ENGINES,
    NodeAffinity,
    Resources,
    Retries,
    StepKind,
    queue_labels,
)
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.gpu import TENSOR_PARALLEL
from lidr.components.shared.steps import TASKS

Placement = Callable[[PipelineTask], PipelineTask]
"""Puts a task in its place, and returns it."""

KINDS: Mapping[str, StepKind] = {
    task: steps[0].kind for task, steps in TASKS.items() if steps[0].kind != "control"
}
"""Component name to the profile's kind of step; all others are `control`."""

LAUNCHERS = ("train", "roll-out")
"""Components whose work is done by the pods of a TrainJob, where the profile says so."""

DECIDERS = ("conclude", "resume-state", "finish")
"""Components that are told of a run's budget and prices."""

_TRACKING = "MLFLOW_TRACKING_URI"

SETTINGS = (
    _TRACKING,
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_WORKSPACE",
    "LIDR_RETRY_SECONDS",
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

OWN_LABEL = {"app.kubernetes.io/part-of": "lidr"}
"""By which NetworkPolicies tell a step of lidr's from others' pipelines in the same namespace."""

_RUN_ID = [{"name": "KFP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
"""Every pod of a run carries this label; a stage notes it."""

_RETRY_WINDOW = "2592000s"
"""30 days. Argo counts its backoff's maxDuration from the start of the first attempt, and ends
retries when it is over: it must be longer than anything that a step may take."""


def place_locally(task: PipelineTask) -> PipelineTask:
    """Leave a task to the machine that the pipeline runs on."""
    return task.set_caching_options(False)


def placed_by(profile: Profile, account: str = "") -> Placement:
    """Return the placement that a cluster profile asks for.

    Args:
        profile: it.
        account: what the tasks that decide are told of budget and prices, as `Account.text` writes
            it.
    """

    def place(task: PipelineTask) -> PipelineTask:
        name = task.component_spec.name
        kind = KINDS.get(name, "control")
        resources = profile.resources_of(kind)
        launches = name in LAUNCHERS and profile.training.launcher == "trainjob"
        task.set_caching_options(False)
        # Each of KFP's own setters reads the source of the whole stack for its caller's name.
        container = task.container_spec
        shards = kind != "train" and launches
        container.image = profile.images.control if shards else profile.images.of(kind)
        container.env = _environment(profile, kind, resources)
        if account and name in DECIDERS:
            container.env[ACCOUNT] = account
        container.resources = _resources(resources)
        if profile.training.launcher == "local":
            _keep_place(task)
        config = kubernetes_config(profile, kind, launches=launches)
        if profile.notify and name == "finish":
            config["secretAsEnv"] = [*_listed(config, "secretAsEnv"), _receiver(profile.notify)]
        task.platform_config["kubernetes"] = config
        return _retry(task, resources.retries)

    return place


def _environment(profile: Profile, kind: StepKind, resources: Resources) -> dict[str, str]:
    image = profile.images.of(kind)
    named = {
        # the image that a stage will note: that of training may be the nodes' own
        "LIDR_IMAGE": (kind == "train" and profile.training.image) or image,
        _TRACKING: profile.tracking_uri,
        TENSOR_PARALLEL: str(resources.tensor_parallel or "") if kind in ENGINES else "",
        MACHINE: profile.machine.text() if kind in (*ENGINES, "score", "judge") else "",
    }
    return {name: value for name, value in named.items() if value}


def kubernetes_config(
    profile: Profile, kind: StepKind, *, launches: bool = False
) -> dict[str, object]:
    """Return what kfp-kubernetes would write into a task; a test compares the two.

    Its own functions import the whole Kubernetes client first, which makes `lidr compile` wait for
    a second. What is missing here, Kubeflow Pipelines 2.17 cannot say: priority classes, and
    affinity to other pods.

    Args:
        profile: where to run.
        kind: of step.
        launches: whether the pod only makes and follows a TrainJob.
    """
    resources, works = profile.resources_of(kind), not launches
    settings = [key for key in SETTINGS if key != _TRACKING or not profile.tracking_uri]
    config: dict[str, object] = {
        "configMapAsEnv": [
            _named_keys("configMap", name, settings, optional=True) for name in profile.config_maps
        ],
        "secretAsEnv": [
            _named_keys("secret", name, keys, optional=False)
            for name, keys in profile.secrets.items()
        ],
        "fieldPathAsEnv": _RUN_ID,
        "nodeSelector": {"labels": resources.node_selector} if resources.node_selector else {},
        "tolerations": [
            {key: value for key, value in toleration.model_dump().items() if value}
            for toleration in resources.tolerations
        ],
        "nodeAffinity": [_affinity(term) for term in resources.affinity],
        "emptyDirMounts": [_shm(resources.shm)] if works and resources.shared_memory else [],
        "podMetadata": _metadata(profile, resources if works else None),
        "activeDeadlineSeconds": str(resources.timeout_seconds or ""),
        # Pod Security's restricted profile wants it said; KFP's backend sets the rest of it.
        "securityContext": {"runAsNonRoot": True},
    }
    return {key: value for key, value in config.items() if value}


def _receiver(notify: Notify) -> dict[str, object]:
    """Return the receiver's address as a variable; without its Secret a run ends all the same."""
    return _named_keys("secret", notify.secret, [NOTIFY_URL], optional=True)


def _listed(config: Mapping[str, object], key: str) -> list[object]:
    found = config.get(key, [])
    return list(found) if isinstance(found, list) else []


def _keep_place(task: PipelineTask) -> None:
    """Give a step the resources itself that it would hand on to a TrainJob."""
    task.component_spec = replace(task.component_spec, task_config_passthroughs=None)


def _named_keys(kind: str, name: str, keys: Sequence[str], *, optional: bool) -> dict[str, object]:
    return {
        f"{kind}Name": name,
        f"{kind}NameParameter": {"runtimeValue": {"constant": name}},
        "keyToEnv": [{f"{kind}Key": key, "envVar": key} for key in keys],
        "optional": optional,
    }


def _affinity(term: NodeAffinity) -> dict[str, object]:
    match = [
        {key: value for key, value in needed.model_dump(mode="json").items() if value}
        for needed in term.match
    ]
    return {"matchExpressions": match, **({"weight": term.weight} if term.weight else {})}


def _shm(size: str) -> dict[str, object]:
    mount = {"volumeName": "shm", "mountPath": "/dev/shm", "medium": "Memory"}  # noqa: S108
    return {**mount, **({"sizeLimit": size} if size else {})}


def _metadata(profile: Profile, queued: Resources | None) -> dict[str, object]:
    """Return labels and annotations; a pod that only follows a TrainJob waits in no queue."""
    labels = OWN_LABEL | profile.pod_labels
    if queued:
        labels |= queue_labels(queued.queue, queued.priority)
    given = {"labels": labels, "annotations": profile.pod_annotations}
    return {key: value for key, value in given.items() if value}


def _resources(given: Resources) -> ResourceSpec:
    return ResourceSpec(
        cpu_request=given.cpu,
        memory_limit=given.memory,  # Kubernetes requests as much
        accelerator_type=given.accelerator_type if given.accelerators else None,
        accelerator_count=str(given.accelerators) if given.accelerators else None,
    )


def _retry(task: PipelineTask, retries: Retries) -> PipelineTask:
    """Try again after a lost node or a network fault: finished chunks and checkpoints are kept."""
    if not retries.count:
        return task
    return task.set_retry(
        retries.count,
        backoff_duration=f"{retries.backoff_seconds}s",
        backoff_factor=2.0,
        backoff_max_duration=_RETRY_WINDOW,
    )
