"""Where each task of the pipeline runs: the profile's images, resources and settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kfp.dsl import PipelineTask
from kfp.dsl.structures import ResourceSpec

from lidr.components.shared.config.budget import ACCOUNT
from lidr.components.shared.config.machine import MACHINE
from lidr.components.shared.config.notify import NOTIFY_URL, Notify
from lidr.components.shared.config.pools import (
    ENGINE_KINDS,
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
"""Sets where and how a task runs; returns the task."""

KIND_BY_COMPONENT: Mapping[str, StepKind] = {
    task: steps[0].kind for task, steps in TASKS.items() if steps[0].kind != "control"
}
"""The profile's kind of step; all other components are `control`."""

LAUNCHERS = ("train", "roll-out")
"""Components whose work the pods of a TrainJob do, if the profile asks for that."""

DECIDERS = ("conclude", "resume-state", "finish")
"""Components that get a run's budget and prices."""

_TRACKING_URI = "MLFLOW_TRACKING_URI"

SETTINGS = (
    _TRACKING_URI,
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_WORKSPACE",
    "LIDR_RETRY_SECONDS",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CA_BUNDLE",
    "AWS_REGION",
    "AWS_MAX_ATTEMPTS",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "HF_HOME",
    "HF_ENDPOINT",
    "LIDR_CACHE",
    "LIDR_CACHE_GIB",
    "LIDR_GIT_SHA",
    "LIDR_RANKS_TIMEOUT",
    "OMP_NUM_THREADS",
    "TMPDIR",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
"""Keys of the profile's ConfigMaps that become environment variables, if they exist. They are
listed because KFP cannot pass a whole ConfigMap; each makes a Workflow of five rounds about 1 KiB
larger."""

OWN_LABEL = {"app.kubernetes.io/part-of": "lidr"}
"""Label by which NetworkPolicies tell steps of lidr from other pipelines in the namespace."""

_RUN_ID = [{"name": "KFP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}]
"""From a label that every pod of a run has; stages record it."""

_RETRY_WINDOW = "2592000s"
"""30 days. Argo counts its backoff's maxDuration from the start of the first attempt, and does not
retry later; so this must be longer than any step may take."""


def place_locally(task: PipelineTask) -> PipelineTask:
    """Let a task run on this machine."""
    return task.set_caching_options(False)


def placed_by(profile: Profile, account: str = "") -> Placement:
    """Return the placement that a cluster profile asks for.

    Args:
        profile: of a cluster.
        account: budget and prices for the tasks in `DECIDERS`, from `Account.text`.
    """

    def place(task: PipelineTask) -> PipelineTask:
        name = task.component_spec.name
        kind = KIND_BY_COMPONENT.get(name, "control")
        resources = profile.resources_of(kind)
        launches = name in LAUNCHERS and profile.training.launcher == "trainjob"
        task.set_caching_options(False)
        # KFP's own setters are slow: each reads the sources of the whole stack.
        container = task.container_spec
        starts_shards = kind != "train" and launches
        container.image = profile.images.control if starts_shards else profile.images.of(kind)
        container.env = _environment(profile, kind, resources)
        if account and name in DECIDERS:
            container.env[ACCOUNT] = account
        container.resources = _resources(resources)
        if profile.training.launcher == "local":  # no TrainJob: the step gets the resources itself
            task.component_spec = replace(task.component_spec, task_config_passthroughs=None)
        config = kubernetes_config(profile, kind, launches=launches)
        if profile.notify and name == "finish":
            secrets = config.get("secretAsEnv", [])
            config["secretAsEnv"] = [*secrets, _notify_secret(profile.notify)]
        task.platform_config["kubernetes"] = config
        return _retry(task, resources.retries)

    return place


def _environment(profile: Profile, kind: StepKind, resources: Resources) -> dict[str, str]:
    image = profile.images.of(kind)
    named = {
        # recorded in stages; training nodes may have an image of their own
        "LIDR_IMAGE": (kind == "train" and profile.training.image) or image,
        _TRACKING_URI: profile.tracking_uri,
        TENSOR_PARALLEL: str(resources.tensor_parallel or "") if kind in ENGINE_KINDS else "",
        MACHINE: profile.machine.text() if kind in (*ENGINE_KINDS, "score", "judge") else "",
    }
    return {name: value for name, value in named.items() if value}


def kubernetes_config(
    profile: Profile, kind: StepKind, *, launches: bool = False
) -> dict[str, Any]:
    """Return what kfp-kubernetes would write into a task; a test compares the two.

    Its own functions import the whole Kubernetes client, which costs `lidr compile` a second.
    Kubeflow Pipelines 2.17 cannot express what is missing here: priority classes, and affinity to
    other pods.

    Args:
        profile: where to run.
        kind: of step.
        launches: whether the pod only creates and follows a TrainJob.
    """
    resources, works = profile.resources_of(kind), not launches
    settings = [key for key in SETTINGS if key != _TRACKING_URI or not profile.tracking_uri]
    config: dict[str, Any] = {
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
        # Pod Security's restricted profile requires it; KFP's backend sets the rest.
        "securityContext": {"runAsNonRoot": True},
    }
    return {key: value for key, value in config.items() if value}


def _notify_secret(notify: Notify) -> dict[str, object]:
    """Return the receiver's address as a variable; optional, so that a run can end without it."""
    return _named_keys("secret", notify.secret, [NOTIFY_URL], optional=True)


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
    """Return labels and annotations; without `queued`, the pod waits in no queue."""
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
    """Retry after a lost node or a network fault; finished chunks and checkpoints are kept."""
    if not retries.count:
        return task
    return task.set_retry(
        retries.count,
        backoff_duration=f"{retries.backoff_seconds}s",
        backoff_factor=2.0,
        backoff_max_duration=_RETRY_WINDOW,
    )
