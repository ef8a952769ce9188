"""What pods request, and quantities of a resource as numbers and as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from lidr.components.shared.config.pools import Resources, StepKind

_IN_BYTES = ("memory", "storage", "ephemeral-storage")
_OWNERS_IN_ARGO = ("count/workflows.argoproj.io",)
_OWNERS_IN_TRAINER = (
    "count/trainjobs.trainer.kubeflow.org",
    "count/jobsets.jobset.x-k8s.io",
    "count/jobs.batch",
)
"""Objects that are created before a step's pods, by their names in a quota."""
_UNITS = (("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))


@dataclass(frozen=True)
class PodRequest:
    """The pods that one or several kinds of step request, all of the same size.

    Attributes:
        kinds: the kinds of step, as in the profile.
        pods: how many run at the same time where there is room.
        needed: how many of them must run at the same time for the step to make progress.
        resources: of one pod.
        namespace: of the pods.
        of_trainjob: whether they are a TrainJob's. Kubeflow Trainer sets their limits to their
            requests; Kubeflow Pipelines sets no CPU limit for its own pods.
    """

    kinds: tuple[StepKind, ...]
    pods: int
    needed: int
    resources: Resources
    namespace: str
    of_trainjob: bool

    @property
    def name(self) -> str:
        """The kinds, for people."""
        return ", ".join(self.kinds)

    @property
    def key(self) -> str:
        """The profile's key for these pods' nodes, e.g. `pools.gpu`."""
        pool = self.resources.pool
        return f"pools.{pool}" if pool else f"steps.{self.kinds[0]}"

    @property
    def per_pod(self) -> Mapping[str, Decimal]:
        """What one pod requests, by resource name; memory in bytes."""
        amounts = {"cpu": quantity(self.resources.cpu), "memory": quantity(self.resources.memory)}
        if self.resources.accelerators:
            amounts[self.resources.accelerator_type] = Decimal(self.resources.accelerators)
        return amounts

    @property
    def quota_usage(self) -> Mapping[str, Decimal]:
        """What the needed pods use of a ResourceQuota, by name in its `spec.hard`."""
        used = dict.fromkeys(("pods", "count/pods"), Decimal(self.needed))
        owners = _OWNERS_IN_TRAINER if self.of_trainjob else _OWNERS_IN_ARGO
        used |= dict.fromkeys(owners, Decimal(1))
        for name, amount in self.per_pod.items():
            used[f"requests.{name}"] = amount * self.needed
        used |= {name: self.per_pod[name] * self.needed for name in ("cpu", "memory")}
        used["limits.memory"] = used["memory"]
        return {**used, "limits.cpu": used["cpu"]} if self.of_trainjob else used


def quantity(text: object) -> Decimal:
    """Return a Kubernetes quantity as a number, e.g. 64Gi in bytes."""
    from kubernetes.utils.quantity import parse_quantity

    number: Decimal = parse_quantity(text)
    return number


def amount_text(resource: str, amount: Decimal) -> str:
    """Return an amount of a resource as text; bytes have a unit, e.g. `256Gi`.

    Args:
        resource: its name, as pods or quotas have it, e.g. `memory` or `requests.memory`.
        amount: in bytes, or in whatever the resource is counted in.
    """
    if resource.rpartition(".")[2] in _IN_BYTES or "hugepages-" in resource:
        for unit, size in _UNITS:
            number = amount / size
            if abs(number) >= 1 and (unit != "Ti" or number % 1 == 0):
                return f"{float(number):.6g}{unit}"
    return f"{amount.normalize():f}"
