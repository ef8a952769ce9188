"""The SDK of Kubeflow Trainer: its client, and a TrainJob as its trainer and options."""

from __future__ import annotations

from typing import Any

from lidr.components.shared.config.pools import queue_labels
from lidr.components.shared.kubernetes.connection import connect
from lidr.components.shared.kubernetes.launch import Launch, Placement

_CALL_SECONDS = 30  # the client ignores a float


def sdk_backend(namespace: str) -> Any:
    """Return the SDK's backend with a timeout for each of its requests.

    Raises:
        BadInput: nothing says where the API server is, or the kubeconfig cannot be read.
    """
    from kubeflow.common.types import KubernetesBackendConfig
    from kubeflow.trainer.backends.kubernetes.backend import KubernetesBackend

    class Backend(KubernetesBackend):
        def verify_backend(self) -> None:
            """Skip a request without a timeout: it only warns where a ConfigMap is unreadable."""

    connect(pod_first=True)  # the SDK does the same, but with a traceback for a broken kubeconfig
    backend = Backend(KubernetesBackendConfig(namespace=namespace or None))
    client = backend.custom_api.api_client
    request = client.request

    def request_in_time(*args: Any, **options: Any) -> Any:
        return request(*args, **{**options, "_request_timeout": _CALL_SECONDS})

    client.request = request_in_time
    return backend


def trainer_and_options(
    name: str,
    component: str,
    annotations: dict[str, str],
    command: list[str],
    launch: Launch,
    placement: Placement,
) -> tuple[Any, list[Any]]:
    """Return a TrainJob as the SDK's trainer and options."""
    from kubeflow.trainer import CustomTrainerContainer
    from kubeflow.trainer.options import (
        ActiveDeadlineSeconds,
        Annotations,
        Labels,
        Name,
        TrainerArgs,
        TrainerCommand,
    )

    trainer = CustomTrainerContainer(
        image=launch.image,
        num_nodes=launch.nodes,
        resources_per_node=placement.resources or None,
        env={**placement.environment, **launch.nccl} or None,
    )
    labels = {"app.kubernetes.io/part-of": "lidr", "app.kubernetes.io/component": component}
    options = [
        Name(name),
        Labels({**labels, **queue_labels(launch.queue, launch.priority)}),
        Annotations(annotations),
        TrainerCommand(command[:3]),
        TrainerArgs(command[3:]),
        *_patches(launch, placement),
    ]
    if launch.deadline_hours:
        options.append(ActiveDeadlineSeconds(round(launch.deadline_hours * 3600)))
    return trainer, options


def _patches(launch: Launch, placement: Placement) -> list[Any]:
    from kubeflow.trainer.options import kubernetes as patch

    spec = patch.PodSpecPatch(
        service_account_name=launch.service_account or None,
        node_selector=placement.node_selector or None,
        affinity=placement.affinity or None,
        tolerations=list(placement.tolerations) or None,
        # the runtime has a volume of this name, and mounts it
        volumes=[{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": launch.shm}}]
        if launch.shm
        else None,
    )
    given = {"labels": launch.pod_labels, "annotations": launch.pod_annotations}
    metadata = {key: value for key, value in given.items() if value}
    if spec == patch.PodSpecPatch() and not metadata:
        return []
    pod = patch.PodTemplatePatch(metadata=metadata or None, spec=spec)
    template = patch.JobTemplatePatch(spec=patch.JobSpecPatch(pod))
    jobs = patch.JobSetSpecPatch([patch.ReplicatedJobPatch("node", template)])
    runtime = patch.TrainingRuntimeSpecPatch(patch.JobSetTemplatePatch(spec=jobs))
    return [patch.RuntimePatch(runtime)]
