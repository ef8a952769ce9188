"""What the steps request from a cluster, and whether it fits: quotas, nodes, queues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from lidr.components.shared.config.pools import (
    KINDS,
    NodeAffinity,
    NodeRequirement,
    Resources,
    StepKind,
    Toleration,
)
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.pipelines.checks.finding import (
    CheckInputs,
    Finding,
    RunNamespaces,
    missing,
    ok,
    unknown,
)
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object

_SHARDED = ("generate", "translate")
_SAME_POD = {"cpu", "memory", "accelerators", "accelerator_type", "node_selector", "tolerations"}
_SAME_POD |= {"affinity", "queue", "priority"}
"""Fields of `Resources` that must be equal for kinds of step to share one PodRequest."""
_REPELLING_EFFECTS = ("NoSchedule", "NoExecute")
_KUEUE = "/apis/kueue.x-k8s.io/v1beta2"


@dataclass(frozen=True)
class PodRequest:
    """The pods that one or several kinds of step request, all of the same size.

    Attributes:
        kinds: the kinds of step, as in the profile.
        pods: how many run at the same time where there is room.
        needed: how many of them must run at the same time for the step to make progress.
        resources: of one pod.
        namespace: of the pods.
    """

    kinds: tuple[StepKind, ...]
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
        for name, amount in self.per_pod.items():
            used[f"requests.{name}"] = amount * self.needed
        used |= {name: self.per_pod[name] * self.needed for name in ("cpu", "memory")}
        return {**used, "limits.memory": used["memory"]}


def quantity(text: object) -> Decimal:
    """Return a Kubernetes quantity as a number, e.g. 64Gi in bytes."""
    from kubernetes.utils.quantity import parse_quantity

    number: Decimal = parse_quantity(text)
    return number


def requests_of(recipe: Recipe, profile: Profile, pods: str, training: str) -> list[PodRequest]:
    """Return what the steps request; kinds of step with equal pods share one request.

    `pods` is the namespace of the pipeline's pods, `training` that of the TrainJobs.
    """
    requests: dict[tuple[str, str, int], PodRequest] = {}
    for kind in kinds_of(recipe):
        resources = profile.resources_of(kind)
        nodes = train_job_nodes(profile, kind)
        whole = kind == "train" or resources.queue  # Kueue admits all shards or none
        needed = max(nodes, 1) if whole else 1
        where = training if nodes else pods
        key = (resources.model_dump_json(include=_SAME_POD), where, needed)
        known = requests.get(key, PodRequest((), 0, needed, resources, where))
        requests[key] = replace(known, kinds=(*known.kinds, kind), pods=max(known.pods, nodes, 1))
    return list(requests.values())


def kinds_of(recipe: Recipe) -> list[StepKind]:
    """Return the kinds of step that a recipe has."""
    without = {"translate", "score"} - {recipe.pairing.reward_step}
    if recipe.judge is None:
        without.add("judge")
    return [kind for kind in KINDS if kind not in without]


def train_job_nodes(profile: Profile, kind: StepKind) -> int:
    """Return how many nodes a kind of step's TrainJob has; 0 where the step creates none."""
    if profile.training.launcher != "trainjob":
        return 0
    shards = profile.shards if kind in _SHARDED and profile.shards > 1 else 0
    return profile.training.nodes if kind == "train" else shards


def queues_of(requests: Sequence[PodRequest]) -> dict[tuple[str, str], list[PodRequest]]:
    """Return the requests of each Kueue LocalQueue, by its namespace and name."""
    queues: dict[tuple[str, str], list[PodRequest]] = {}
    for each in requests:
        if each.resources.queue:
            queues.setdefault((each.namespace, each.resources.queue), []).append(each)
    return queues


def capacity_findings(
    inputs: CheckInputs, api: ClusterApi, namespaces: RunNamespaces
) -> Iterator[Finding]:
    """Yield whether quotas, nodes and queues have room for the pods of every kind of step."""
    requests = requests_of(inputs.recipe, inputs.profile, namespaces.pods, namespaces.training)
    for namespace in dict.fromkeys(each.namespace for each in requests):
        yield from _quotas(api, namespace, [r for r in requests if r.namespace == namespace])
    for each in requests:
        yield _nodes(api, each)
    for (namespace, queue), waiting in queues_of(requests).items():
        yield from _queue_quota(api, namespace, queue, waiting)


def _quotas(api: ClusterApi, namespace: str, requests: Sequence[PodRequest]) -> Iterator[Finding]:
    try:
        quotas = list(api.items(f"/api/v1/namespaces/{namespace}/resourcequotas"))
    except Denied as error:
        remedy = f"kubectl auth can-i list resourcequotas -n {namespace}"
        yield unknown("ResourceQuota", error.message, remedy)
        return
    if not quotas:
        yield ok("ResourceQuota", f"namespace {namespace} has none")
    for quota in quotas:
        yield _quota(quota, namespace, requests)


def _quota(quota: Object, namespace: str, requests: Sequence[PodRequest]) -> Finding:
    name = quota["metadata"]["name"]
    title = f"ResourceQuota {name}"
    if quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"):
        remedy = f"kubectl describe quota {name} -n {namespace}"
        return unknown(title, "counts some pods only", remedy)
    hard, used = quota["spec"].get("hard", {}), quota.get("status", {}).get("used", {})
    short = []
    for each in requests:
        for resource, amount in each.quota_usage.items():
            if resource not in hard:
                continue
            left = quantity(hard[resource]) - quantity(used.get(resource, 0))
            if amount > left:
                rest = f"{_shown(left)} of {hard[resource]} are left"
                short.append(f"{each.name} asks {_shown(amount)} {resource}, {rest}")
    if short:
        remedy = (
            f"kubectl get pods -n {namespace} shows who uses it; raise it with "
            f"kubectl edit resourcequota {name} -n {namespace}, or lower steps in the profile"
        )
        return missing(title, "; ".join(short), remedy)
    return ok(title, "the largest step fits into what is left")


def _queue_quota(
    api: ClusterApi, namespace: str, queue: str, requests: Sequence[PodRequest]
) -> Iterator[Finding]:
    """Yield whether the ClusterQueue of a LocalQueue could admit the requests if it were idle."""
    title = f"quota of queue {queue}"
    try:
        local = api.get(f"{_KUEUE}/namespaces/{namespace}/localqueues/{queue}")
        name = local["spec"]["clusterQueue"] if local else ""
        shared = api.get(f"{_KUEUE}/clusterqueues/{name}") if name else None
    except Denied as error:
        yield unknown(title, error.message, f"kubectl describe localqueue {queue} -n {namespace}")
        return
    if shared is None:
        return  # reported by the namespace's findings
    if shared["spec"].get("cohortName"):
        yield ok(title, f"ClusterQueue {name} may borrow from its cohort")
        return
    short = [text for each in requests if (text := _beyond_flavors(shared, each))]
    if short:
        remedy = f"kubectl edit clusterqueue {name}, or lower training.nodes and steps"
        yield missing(title, f"ClusterQueue {name} can never admit it: {'; '.join(short)}", remedy)
    else:
        yield ok(title, f"ClusterQueue {name} has enough in one flavor")


def _beyond_flavors(queue: Object, request: PodRequest) -> str:
    """Return what of a request no flavor of a ClusterQueue has; "" if it could be admitted.

    All resources of a group come from one flavor of it (Kueue, "Flavors and borrowing semantics").
    """
    asked = {name: amount * request.needed for name, amount in request.per_pod.items()}
    covered: set[str] = set()
    for group in queue["spec"].get("resourceGroups", []):
        own = {n: asked[n] for n in group.get("coveredResources", asked) if n in asked}
        covered |= own.keys()
        lacks = []
        for flavor in group["flavors"]:
            has = {each["name"]: quantity(each["nominalQuota"]) for each in flavor["resources"]}
            lacks.append([n for n, amount in own.items() if amount > has.get(n, Decimal(0))])
        if all(lacks):
            name = min(lacks, key=len)[0]
            return f"{request.name} asks {_shown(asked[name])} {name}, which no flavor has" + (
                " with the rest" if len(own) > 1 else ""
            )
    uncovered = sorted(asked.keys() - covered)
    return f"{request.name} asks {uncovered[0]}, of which it has no quota" if uncovered else ""


def _shown(amount: Decimal) -> str:
    """Return an amount as text; from 2**30 on it is taken for bytes, e.g. `256Gi`."""
    return f"{amount / (1 << 30):.4g}Gi" if amount >= 1 << 30 else f"{amount.normalize():f}"


def _nodes(api: ClusterApi, request: PodRequest) -> Finding:
    """Return whether the nodes, were they idle, could take a step's pods; if not, why."""
    title, wanted = f"nodes for {request.name}", request.resources
    selector = ",".join(f"{key}={value}" for key, value in wanted.node_selector.items())
    try:
        every = list(
            api.items("/api/v1/nodes", **({"labelSelector": selector} if selector else {}))
        )
    except Denied as error:
        return unknown(title, error.message, "kubectl auth can-i list nodes")
    nodes = [node for node in every if _matches(node, wanted.affinity)]
    labelled = f" labelled {selector}" if selector else ""
    labelled += " that the affinity wants" if len(nodes) < len(every) else ""
    ready = [node for node in nodes if _is_schedulable(node)]
    open_nodes = [node for node in ready if not _untolerated(node, wanted.tolerations)]
    fitting = sum(_slots(node, request.per_pod) for node in open_nodes)
    if fitting >= request.needed:
        side = f" of {request.pods} wanted side by side" if request.pods > fitting else ""
        room = f"room for {fitting} such pods{side} on {len(open_nodes)} of {len(nodes)} nodes"
        return ok(title, f"{room}{labelled}")
    if not nodes:
        return _too_few(api, title, f"there is no node{labelled}", request.key)
    if not ready:
        detail = f"none of {len(nodes)} nodes{labelled} is ready and open for pods"
        return missing(title, detail, "kubectl get nodes; kubectl uncordon NODE")
    large = [node for node in ready if _slots(node, request.per_pod)]
    if sum(_slots(node, request.per_pod) for node in large) >= request.needed:
        tainted = [t for node in large if (t := sorted(_untolerated(node, wanted.tolerations)))]
        taints = min(tainted, key=len)
        detail = f"the nodes{labelled} that are large enough are tainted {', '.join(taints)}"
        needed = ", ".join(map(_toleration, taints))
        return missing(title, detail, f"Add to {request.key}.tolerations: {needed}")
    asked = ", ".join(f"{amount:f} {name}" for name, amount in request.per_pod.items())
    largest = {name: max(_allocatable(node, name) for node in ready) for name in request.per_pod}
    offers = ", ".join(f"{amount:f} {name}" for name, amount in largest.items())
    detail = f"{request.needed} pods of {asked} do not fit: the largest node offers {offers}"
    return _too_few(api, title, detail, request.key)


def _matches(node: Object, affinity: Sequence[NodeAffinity]) -> bool:
    """Return whether a node satisfies one of the required affinities, if there are any."""
    labels = node["metadata"].get("labels", {})
    required = [each for each in affinity if not each.weight]
    return not required or any(all(_holds(one, labels) for one in each.match) for each in required)


def _holds(wanted: NodeRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(wanted.key)
    if wanted.operator in ("NotIn", "DoesNotExist"):
        return value is None or (wanted.operator == "NotIn" and value not in wanted.values)
    if value is None:
        return False
    if wanted.operator in ("Gt", "Lt"):
        try:
            number, bound = map(int, (value, *wanted.values))
        except ValueError:  # no node with another label matches
            return False
        return number > bound if wanted.operator == "Gt" else number < bound
    return wanted.operator == "Exists" or value in wanted.values


def _too_few(api: ClusterApi, title: str, detail: str, key: str) -> Finding:
    """Return the finding `missing`, or `unknown` where an autoscaler may add nodes."""
    remedy = (
        f"kubectl get nodes --show-labels; correct {key} in the profile (node_selector, "
        "accelerator_type, cpu, memory), or add nodes"
    )
    if scaler := _autoscaler(api):
        return unknown(title, f"{detail} now; {scaler} may add some", remedy)
    return missing(title, detail, remedy)


def _autoscaler(api: ClusterApi) -> str:
    if api.serves("karpenter.sh/v1", "nodepools"):
        return "Karpenter"
    path = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
    try:
        return "the cluster autoscaler" if api.get(path) else ""
    except Denied:
        return ""


def _is_schedulable(node: Object) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    ready = all(each["status"] == "True" for each in conditions if each["type"] == "Ready")
    return ready and not node.get("spec", {}).get("unschedulable")


def _untolerated(node: Object, tolerations: Sequence[Toleration]) -> list[str]:
    """Return the taints that keep a pod off a node, each as `key=value:effect`."""
    return [
        f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"
        for taint in node.get("spec", {}).get("taints", [])
        if taint["effect"] in _REPELLING_EFFECTS
        and not any(_tolerates(each, taint) for each in tolerations)
    ]


def _tolerates(toleration: Toleration, taint: Object) -> bool:
    if toleration.effect and toleration.effect != taint["effect"]:
        return False
    if toleration.key and toleration.key != taint["key"]:
        return False
    return toleration.operator == "Exists" or toleration.value == taint.get("value", "")


def _toleration(taint: str) -> str:
    key, _, rest = taint.partition("=")
    return f"{{key: {key}, operator: Exists, effect: {rest.rpartition(':')[2]}}}"


def _allocatable(node: Object, name: str) -> Decimal:
    return quantity(node.get("status", {}).get("allocatable", {}).get(name, 0))


def _slots(node: Object, per_pod: Mapping[str, Decimal]) -> int:
    """Return how many such pods fit on a node that runs nothing else."""
    return min(int(_allocatable(node, name) // size) for name, size in per_pod.items() if size)
