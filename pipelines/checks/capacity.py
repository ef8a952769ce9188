"""Whether there is room for the pods of every kind of step: quotas, nodes, the queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from components.shared.pools import FOLLOWS, KINDS, Resources
from components.shared.profile import Profile
from pipelines.checks.api import ClusterApi, Denied, Object
from pipelines.checks.finding import Finding, Inputs, missing, ok, unknown
from pipelines.checks.nodes import room

Amounts = Mapping[str, Decimal]


@dataclass(frozen=True)
class Ask:
    """What one kind of step asks for at once.

    Attributes:
        kind: of step, as in the profile.
        pods: that stand side by side.
        needed: of those, how many must stand at the same time for the step to go on at all.
        resources: of one pod.
        namespace: of the pods.
    """

    kind: str
    pods: int
    needed: int
    resources: Resources
    namespace: str

    @cached_property
    def of_pod(self) -> Amounts:
        """What one pod requests, by the resource's name."""
        asked = {"cpu": quantity(self.resources.cpu), "memory": quantity(self.resources.memory)}
        if self.resources.accelerators:
            asked[self.resources.accelerator_type] = Decimal(self.resources.accelerators)
        return asked

    @property
    def of_quota(self) -> Amounts:
        """What the least number of pods takes of a ResourceQuota, by the quota's names."""
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


def asks_of(profile: Profile, pods: str, training: str) -> list[Ask]:
    """Return what a profile's steps ask for; a kind that asks for what another does is left out.

    Args:
        profile: where they run.
        pods: namespace of the pipeline's pods.
        training: that of the TrainJobs.
    """
    asks = []
    for kind in KINDS:
        resources = profile.resources_of(kind)
        if kind in FOLLOWS and resources == profile.resources_of(FOLLOWS[kind]):
            continue
        gang = kind == "train" and profile.training.launcher == "trainjob"
        sharded = kind in ("generate", "translate")
        side = profile.training.nodes if gang else profile.shards if sharded else 1
        asks.append(Ask(kind, side, side if gang else 1, resources, training if gang else pods))
    return asks


def findings(inputs: Inputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield where a step's pods would find no room."""
    if not api.is_reached():
        yield unknown("capacity", "not looked at: the Kubernetes API does not answer")
        return
    asks = asks_of(inputs.profile, *api.namespaces(inputs.profile))
    for namespace in dict.fromkeys(ask.namespace for ask in asks):
        yield from _quotas(api, namespace, [ask for ask in asks if ask.namespace == namespace])
    for ask in asks:
        yield room(api, ask.kind, ask.of_pod, ask.pods, ask.needed, ask.resources)
    for namespace, queue in queues_of(asks):
        held = [ask for ask in asks if (ask.namespace, ask.resources.queue) == (namespace, queue)]
        yield from _queue(api, namespace, queue, held)


def queues_of(asks: Sequence[Ask]) -> list[tuple[str, str]]:
    """Return the Kueue LocalQueues that pods and TrainJobs wait in, each with its namespace."""
    return list(
        dict.fromkeys((ask.namespace, ask.resources.queue) for ask in asks if ask.resources.queue)
    )


def _quotas(api: ClusterApi, namespace: str, asks: Sequence[Ask]) -> Iterator[Finding]:
    try:
        found = list(api.each(f"/api/v1/namespaces/{namespace}/resourcequotas"))
    except Denied as error:
        told = f"kubectl auth can-i list resourcequotas -n {namespace}"
        yield unknown("ResourceQuota", error.message, told)
        return
    if not found:
        yield ok("ResourceQuota", f"namespace {namespace} has none")
    for quota in found:
        yield _quota(quota, namespace, asks)


def _quota(quota: Object, namespace: str, asks: Sequence[Ask]) -> Finding:
    name = quota["metadata"]["name"]
    title = f"ResourceQuota {name}"
    if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
        return unknown(
            title, "counts some pods only", f"kubectl describe quota {name} -n {namespace}"
        )
    hard, used = quota["spec"].get("hard", {}), quota.get("status", {}).get("used", {})
    short = []
    for ask in asks:
        for resource, amount in ask.of_quota.items():
            if resource not in hard:
                continue
            left = quantity(hard[resource]) - quantity(used.get(resource, 0))
            if amount > left:
                told = (
                    f"{ask.kind} asks {shown(amount)} {resource}, {shown(left)} of {hard[resource]}"
                )
                short.append(f"{told} are left")
    if short:
        remedy = (
            f"kubectl get pods -n {namespace} shows who uses it; raise it with "
            f"kubectl edit resourcequota {name} -n {namespace}, or lower steps in the profile"
        )
        return missing(title, "; ".join(short), remedy)
    return ok(title, "the largest step fits into what is left")


def _queue(api: ClusterApi, namespace: str, queue: str, asks: Sequence[Ask]) -> Iterator[Finding]:
    """Yield whether the ClusterQueue behind a LocalQueue could ever admit pods and TrainJobs."""
    group = "/apis/kueue.x-k8s.io/v1beta2"
    title = f"quota of queue {queue}"
    try:
        local = api.get(f"{group}/namespaces/{namespace}/localqueues/{queue}")
        name = local["spec"]["clusterQueue"] if local else ""
        shared = api.get(f"{group}/clusterqueues/{name}") if name else None
    except Denied as error:
        yield unknown(title, error.message, f"kubectl describe localqueue {queue}")
        return
    if shared is None:
        return  # the objects' findings say so
    if shared["spec"].get("cohortName"):
        yield ok(title, f"ClusterQueue {name} may borrow from its cohort")
        return
    most: dict[str, Decimal] = {}
    for group_of in shared["spec"].get("resourceGroups", []):
        for flavor in group_of["flavors"]:
            for each in flavor["resources"]:
                nominal = quantity(each["nominalQuota"])
                most[each["name"]] = max(nominal, most.get(each["name"], Decimal(0)))
    short = [
        f"{ask.kind} asks {shown(amount * ask.needed)} {resource}, "
        f"{shown(most.get(resource, Decimal(0)))} are there"
        for ask in asks
        for resource, amount in ask.of_pod.items()
        if amount * ask.needed > most.get(resource, Decimal(0))
    ]
    if short:
        remedy = f"kubectl edit clusterqueue {name}, or lower steps and training.nodes"
        yield missing(title, f"ClusterQueue {name} can never admit: {'; '.join(short)}", remedy)
    else:
        yield ok(title, f"ClusterQueue {name} has that in one flavor")


def shown(amount: Decimal) -> str:
    """Return a number, or bytes as 256Gi where it is large."""
    return f"{amount / (1 << 30):.4g}Gi" if amount >= 1 << 30 else f"{amount.normalize():f}"
