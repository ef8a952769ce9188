"""How a TrainJob is started: the profile's settings, and the placement that KFP passes in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from pydantic import Field

from lidr.components.shared.config.profile import Profile, TrainingPlacement


class Launch(TrainingPlacement):
    """The profile's `training`, completed from other keys of the profile.

    It is one text parameter of a step that may launch a TrainJob, so that the step needs no
    profile.
    """

    namespace: str = ""
    """Namespace of the TrainJob. Default empty: the client's."""
    queue: str = ""
    """Kueue LocalQueue that admits the TrainJob. Default empty: no queue."""
    priority: str = ""
    """Kueue WorkloadPriorityClass in that queue. Default empty: the queue's own order."""
    shm: str = ""
    """Size of the nodes' /dev/shm. Default empty: the runtime's."""
    pod_labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the nodes' pods. Default none."""
    pod_annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the nodes' pods. Default none."""

    @classmethod
    def of(cls, profile: Profile) -> Self:
        """Return the settings of training in a profile."""
        own, resources = profile.training, profile.resources_of("train")
        return cls(
            **{
                **own.model_dump(),
                "processes": own.processes or max(1, resources.accelerators),
                "image": own.image or profile.images.train,
            },
            namespace=profile.namespace,
            queue=resources.queue,
            priority=resources.priority,
            shm=resources.shm,
            pod_labels=profile.pod_labels,
            pod_annotations=profile.pod_annotations,
        )

    @classmethod
    def of_rollout(cls, profile: Profile) -> Self:
        """Return the settings of a sharded rollout in a profile: each shard is a node."""
        own, resources = profile.training, profile.resources_of("generate")
        return cls(
            launcher="trainjob",
            nodes=profile.shards,
            image=profile.images.generate,
            runtime=own.rollout_runtime,
            service_account=own.service_account,
            admission_minutes=own.admission_minutes,
            deadline_hours=resources.timeout_hours,
            namespace=profile.namespace,
            queue=resources.queue,
            priority=resources.priority,
            shm=resources.shm,
            pod_labels=profile.pod_labels,
            pod_annotations=profile.pod_annotations,
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse the step's parameter; an empty one means one process on this machine."""
        return cls.model_validate_json(text or "{}")

    def text(self) -> str:
        """Return the step's parameter as JSON without defaults; equal profiles give equal text."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True)

    @property
    def ranks_per_node(self) -> int:
        """Processes that one node runs."""
        return max(1, self.processes)

    @property
    def world_size(self) -> int:
        """Ranks in all."""
        return self.nodes * self.ranks_per_node


class TaskConfig(Protocol):
    """The fields of `kfp.dsl.TaskConfig` that are passed on; each is None if KFP sets none."""

    affinity: dict[str, Any] | None
    tolerations: list[dict[str, Any]] | None
    node_selector: dict[str, str] | None
    env: list[dict[str, Any]] | None
    resources: dict[str, Any] | None


@dataclass(frozen=True)
class Placement:
    """The placement that KFP would give the step's own pod, for the nodes of its TrainJob.

    Attributes:
        resources: quantity by resource, e.g. `{"nvidia.com/gpu": "8", "memory": "256Gi"}`; the
            limit where there is one, else the request.
        node_selector: node labels.
        tolerations: core/v1 Tolerations.
        affinity: core/v1 Affinity.
        environment: variables with plain values. Those from a Secret are left out: the
            TrainingRuntime names its Secrets itself.
    """

    resources: dict[str, str] = field(default_factory=dict)
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: TaskConfig | None) -> Self:
        """Return the placement in KFP's TaskConfig, which is None outside a cluster."""
        if config is None:
            return cls()
        resources = config.resources or {}
        return cls(
            resources={**resources.get("requests", {}), **resources.get("limits", {})},
            node_selector=config.node_selector or {},
            tolerations=tuple(config.tolerations or ()),
            affinity=config.affinity or {},
            environment={
                entry["name"]: entry.get("value") or ""
                for entry in config.env or ()
                if not entry.get("valueFrom")
            },
        )
