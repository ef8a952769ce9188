"""Pools of nodes, and what one pod of a step gets of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.load import LocatedError
from lidr.components.shared.config.patterns import (
    CPU,
    KUBERNETES_OBJECT,
    LABEL_CHARS,
    MEMORY,
    or_empty,
)
from lidr.components.shared.core.text import nearest

StepKind = Literal[
    "generate", "translate", "score", "evaluate", "train", "prepare", "control", "judge"
]

KINDS: tuple[StepKind, ...] = get_args(StepKind)

_INHERITS_FROM: Mapping[StepKind, StepKind] = {
    "translate": "generate",
    "score": "generate",
    "evaluate": "generate",
    "prepare": "train",
    "judge": "control",
}
"""By kind of step: the kind whose settings it inherits where it sets none."""

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"

ENGINE_KINDS: frozenset[StepKind] = frozenset(("generate", "translate", "evaluate"))
"""Kinds of step that run an inference engine."""


def queue_labels(queue: str, priority: str) -> dict[str, str]:
    """Return the labels that put a pod into a Kueue queue; none without a queue."""
    labels = {QUEUE_LABEL: queue, PRIORITY_LABEL: priority}
    return {label: value for label, value in labels.items() if value}


class Toleration(Strict):
    """A Kubernetes toleration (core/v1 Toleration)."""

    key: str = ""
    """Taint key. Default empty: all keys."""
    operator: Literal["Exists", "Equal"] = "Exists"
    """Default Exists."""
    value: str = ""
    """Taint value, with operator Equal. Default empty."""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """Default empty: all effects."""


class NodeRequirement(Strict):
    """What one label of a node must be (core/v1 NodeSelectorRequirement)."""

    key: str
    """Label key."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = "In"
    """Default In."""
    values: tuple[str, ...] = ()
    """Label values; one with Gt and Lt, none with Exists and DoesNotExist. Default none."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        wanted = {"Exists": 0, "DoesNotExist": 0, "Gt": 1, "Lt": 1}.get(self.operator)
        if wanted is None and not self.values:
            raise ValueError(f"operator {self.operator} needs values")
        if wanted is not None and len(self.values) != wanted:
            raise ValueError(f"operator {self.operator} takes {wanted or 'no'} value(s)")
        return self


class NodeAffinity(Strict):
    """Nodes that a pod needs, or prefers. KFP supports no pod affinity."""

    match: tuple[NodeRequirement, ...] = Field(min_length=1)
    """Requirements that such a node meets, all of them."""
    weight: int = Field(0, ge=0, le=100)
    """How much such a node is preferred. Default 0: it is needed; of several entries with 0, one
    must match."""


class Pool(Strict):
    """Nodes of one kind, and how pods get them."""

    gpu: str = ""
    """Type of GPU, as named in pipelines/planning/figures.yaml, e.g. H100. Default empty: plans
    assume an H100."""
    accelerators: int = Field(0, ge=0)
    """Accelerators per pod. Default 0."""
    accelerator_type: str = "nvidia.com/gpu"
    """Extended resource that is requested. Default nvidia.com/gpu."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Node labels the pod needs. Default none."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints the pod accepts. Default none."""
    affinity: tuple[NodeAffinity, ...] = ()
    """Further properties that its nodes must or should have. Default none."""
    spot: bool = False
    """Whether nodes may be taken away at any time: plans count the spot price, and a step there
    must be retried. Default false."""
    queue: str = Field("", pattern=or_empty(KUBERNETES_OBJECT), max_length=LABEL_CHARS)
    """Kueue LocalQueue that admits the pods, or the TrainJob. Default empty: no queue."""
    priority: str = Field("", pattern=or_empty(KUBERNETES_OBJECT), max_length=LABEL_CHARS)
    """Kueue WorkloadPriorityClass in that queue. Default empty: the queue's own order."""


class Retries(Strict):
    """How often a pod that failed is started again. Finished chunks and checkpoints are kept."""

    count: int = Field(2, ge=0, le=10)
    """Largest number of retries. Default 2."""
    backoff_seconds: int = Field(30, ge=0, le=3600)
    """Seconds before the first retry; doubled for each further one. Default 30."""


class Resources(Pool):
    """What one pod of a step gets. Node settings that are not set here are the pool's."""

    pool: str = ""
    """One of the profile's pools. Default empty: none; the nodes are described here."""
    cpu: str = Field("1", pattern=CPU)
    """CPU request, in cores. Default 1."""
    memory: str = Field("4Gi", pattern=MEMORY)
    """Memory request and limit, in bytes with suffix. Default 4Gi."""
    shm: str = Field("", pattern=or_empty(MEMORY))
    """Size of /dev/shm, which counts towards memory. Default empty: limited by memory alone where a
    pod has several accelerators, whose processes communicate through it; else 64Mi, as
    container runtimes give."""
    tensor_parallel: int = Field(0, ge=0)
    """Accelerators that each layer of the model is split over, in steps that run an engine; if
    fewer than the pod's, the layers are also divided among several such groups (pipeline
    parallelism).
    Default 0: all of the pod's."""
    retries: Retries = Retries()
    """How often a pod that failed is started again."""
    timeout_hours: float = Field(0.0, ge=0.0)
    """Hours after which a pod is ended, and counts as failed. Default 0: never."""

    @field_validator("timeout_hours")
    @classmethod
    def _whole_seconds(cls, hours: float) -> float:
        if 0 < hours * 3600 < 1:
            raise ValueError("shorter than a second")
        return hours

    @property
    def timeout_seconds(self) -> int:
        """Seconds after which a pod is ended; 0 for never."""
        return round(self.timeout_hours * 3600)

    @property
    def shared_memory(self) -> bool:
        """Whether the pod needs another /dev/shm than the container runtime's."""
        return bool(self.shm) or self.accelerators > 1


class Steps(Strict):
    """Resources by kind of step. A kind that inherits from another has its settings where it sets
    none; if it sets `pool` (even `pool: ""`), it inherits no node settings."""

    generate: Resources = Resources()
    """generate."""
    translate: Resources = Resources()
    """translate; inherits from generate."""
    score: Resources = Resources()
    """score, which the rewarder icr needs; inherits from generate, but has one accelerator."""
    evaluate: Resources = Resources()
    """evaluate; inherits from generate."""
    train: Resources = Resources()
    """train; one node of a TrainJob."""
    prepare: Resources = Resources()
    """prepare, which makes the tiny world's M_0 and checks any other; inherits from train."""
    control: Resources = Resources()
    """Every other step: pair, gate, register, report, state, ..."""
    judge: Resources = Resources()
    """judge, and grade, which the rewarder judge needs; inherits from control."""

    def configured(self, kind: StepKind) -> Resources:
        """Return what is set for a kind of step itself."""
        resources: Resources = getattr(self, kind)
        return resources

    def resolve(self, kind: StepKind, pools: Mapping[str, Pool]) -> Resources:
        """Return what a pod gets: from its step, then the kind it inherits from, then its pool."""
        own = configured = _set_values(self.configured(kind))
        if base := _INHERITS_FROM.get(kind):
            inherited = _set_values(self.configured(base))
            if kind not in ENGINE_KINDS:
                inherited.pop("tensor_parallel", None)
            if "pool" in own:
                inherited = {k: value for k, value in inherited.items() if k not in _NODE_SETTINGS}
            own = inherited | own
        if name := own.get("pool"):
            own = _set_values(pools[name]) | own
        if kind == "score" and "accelerators" not in configured and own.get("accelerators"):
            own["accelerators"] = 1  # one process, no model parallelism
        return Resources(**own)


_NODE_SETTINGS = {*Pool.model_fields, "pool", "tensor_parallel"}
"""What a step that names a pool does not inherit."""


def _set_values(settings: Pool) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in settings.model_fields_set}


def require_consistent(steps: Steps, pools: Mapping[str, Pool]) -> None:
    """Refuse contradictory settings, and pools that do not exist.

    Raises:
        LocatedError: at the key that is wrong.
    """
    for kind in KINDS:
        name = steps.configured(kind).pool
        if name and name not in pools:
            known = ", ".join(pools) or "none"
            message = f"no pool {name!r}{nearest(name, pools)}; pools are {known}"
            raise LocatedError(message, "steps", kind, "pool")
    for kind in KINDS:
        resources = steps.resolve(kind, pools)
        for key, wrong in _contradictions(kind, resources):
            raise LocatedError(wrong, "steps", kind, key)


def _contradictions(kind: StepKind, resources: Resources) -> Iterator[tuple[str, str]]:
    parallel, accelerators = resources.tensor_parallel, resources.accelerators
    if parallel and kind not in ENGINE_KINDS:
        instead = "; see training.zero" if kind == "train" else ""
        yield "tensor_parallel", f"only steps that run an engine have it{instead}"
    elif parallel > accelerators:
        yield "tensor_parallel", f"{parallel} is more than {accelerators} accelerators"
    elif parallel and accelerators % parallel:
        yield "tensor_parallel", f"{parallel} does not divide {accelerators} accelerators"
    if resources.spot and not resources.retries.count:
        yield "retries", "a step on spot nodes needs retries: count is 0"
    if resources.shm and quantity_bytes(resources.shm) > quantity_bytes(resources.memory):
        yield "shm", f"{resources.shm} is more than memory, {resources.memory}"
    if resources.priority and not resources.queue:
        yield "priority", f"{resources.priority!r} needs a queue, and queue is empty"


_SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SUFFIXES |= {f"{suffix}i": 1024 ** (at + 1) for at, suffix in enumerate("KMGT")}


def quantity_bytes(quantity: str) -> float:
    """Return the bytes of a Kubernetes quantity of memory, e.g. 64Gi."""
    number = quantity.rstrip("KMGTi")
    return float(number) * _SUFFIXES[quantity.removeprefix(number)]
