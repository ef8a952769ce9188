"""What the steps of a run ask a cluster for: pods of one size, in one place, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from lidr.components.shared.config.pools import KINDS, Kind, Resources
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe

Amounts = Mapping[str, Decimal]
"""By the resource's name; memory in bytes."""

_SHARDED = ("generate", "translate")
_PLACE = {"cpu", "memory", "accelerators", "accelerator_type", "node_selector", "tolerations"}
_PLACE |= {"affinity", "queue", "priority"}
"""What two kinds of step must have in common to be one thing to look at."""


@dataclass(frozen=True)
class Ask:
    """What kinds of step that are alike ask for.

    Attributes:
        kinds: of step, as in the profile.
        pods: that stand side by side where there is room.
        needed: how many of them must stand at the same time for the step to go on at all.
        resources: of one pod.
        namespace: of the pods.
    """

    kinds: tuple[Kind, ...]
    pods: int
    needed: int
    resources: Resources
    namespace: str

    @property
    def name(self) -> str:
        """The kinds, for people."""
        return ", ".join(self.kinds)

    @property
    def key(self) -> str:
        """Where in the profile the nodes are described."""
        pool = self.resources.pool
        return f"pools.{pool}" if pool else f"steps.{self.kinds[0]}"

    @property
    def of_pod(self) -> Amounts:
        """What one pod requests."""
        asked = {"cpu": quantity(self.resources.cpu), "memory": quantity(self.resources.memory)}
        if self.resources.accelerators:
            asked[self.resources.accelerator_type] = Decimal(self.resources.accelerators)
        return asked

    @property
    def of_quota(self) -> Amounts:
        """What the pods that are needed take of a ResourceQuota, by the quota's names."""
        used = dict.fromkeys(("pods", "count/pods"), Decimal(self.needed))
        for name, amount in self.of_pod.items():
            used[f"requests.{name}"] = amount * self.needed
        used |= {name: self.of_pod[name] * self.needed for name in ("cpu", "memory")}
        return {**used, "limits.memory": used["memory"]}


def quantity(text: object) -> Decimal:
    """Return a Kubernetes quantity as a number, e.g. 64Gi in bytes."""
    from kubernetes.utils.quantity import parse_quantity

    found: Decimal = parse_quantity(text)
    return found


def asks_of(recipe: Recipe, profile: Profile, pods: str, training: str) -> list[Ask]:
    """Return what the steps ask for; kinds that are alike are one ask.

    Args:
        recipe: which steps there are.
        profile: where they run.
        pods: namespace of the pipeline's pods.
        training: that of the TrainJobs.
    """
    found: dict[tuple[str, str, int], Ask] = {}
    for kind in KINDS:
        if kind == "judge" and recipe.judge is None:
            continue
        resources = profile.resources_of(kind)
        nodes = _nodes(profile, kind)
        whole = kind == "train" or resources.queue  # shards go on alone, but a queue admits all
        needed = max(nodes, 1) if whole else 1
        where = training if nodes else pods
        key = (resources.model_dump_json(include=_PLACE), where, needed)
        ask = found.get(key, Ask((), 0, needed, resources, where))
        found[key] = replace(ask, kinds=(*ask.kinds, kind), pods=max(ask.pods, nodes, 1))
    return list(found.values())


def _nodes(profile: Profile, kind: Kind) -> int:
    """Return how many nodes the TrainJob of a kind of step has; 0 where it makes none."""
    if profile.training.launcher != "trainjob":
        return 0
    shards = profile.shards if kind in _SHARDED and profile.shards > 1 else 0
    return profile.training.nodes if kind == "train" else shards


def queues_of(asks: Sequence[Ask]) -> dict[tuple[str, str], list[Ask]]:
    """Return what waits in each queue, by namespace and name of the Kueue LocalQueue."""
    found: dict[tuple[str, str], list[Ask]] = {}
    for ask in asks:
        if ask.resources.queue:
            found.setdefault((ask.namespace, ask.resources.queue), []).append(ask)
    return found
