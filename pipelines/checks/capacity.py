"""What the steps request from a cluster, and whether its quotas, nodes and queues have room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lidr.components.shared.config.pools import StepKind
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import LidrError
from lidr.pipelines.checks.finding import (
    CheckInputs,
    Finding,
    FoundNamespaces,
    missing,
    unknown,
)
from lidr.pipelines.checks.nodes import nodes_findings
from lidr.pipelines.checks.pod_request import PodRequest
from lidr.pipelines.checks.queues import queue_findings
from lidr.pipelines.checks.quotas import quota_findings
from lidr.pipelines.cluster.api import ClusterApi
from lidr.pipelines.planning.pair_memory import REMEDY, pair_memory_fault, planned_pairs
from lidr.pipelines.planning.requests import PlannedPrompts, read_prompts
from lidr.pipelines.step_kinds import kinds_of

_SAME_POD = {"cpu", "memory", "accelerators", "accelerator_type", "node_selector", "tolerations"}
_SAME_POD |= {"affinity", "queue", "priority"}
"""Fields of `Resources` that must be equal for kinds of step to share one PodRequest."""


def requests_of(recipe: Recipe, profile: Profile, pods: str, training: str) -> list[PodRequest]:
    """Return what the steps request; kinds of step with equal pods share one request.

    `pods` is the namespace of the pipeline's pods, `training` that of the TrainJobs.
    """
    requests: dict[tuple[object, ...], PodRequest] = {}
    for kind in kinds_of(recipe, profile.shards):
        resources = profile.resources_of(kind)
        nodes = train_job_nodes(profile, kind)
        whole = kind == "train" or resources.queue  # Kueue admits all shards or none
        needed = max(nodes, 1) if whole else 1
        where = training if nodes else pods
        key = (resources.model_dump_json(include=_SAME_POD), where, needed, nodes > 0)
        known = requests.get(key, PodRequest((), 0, needed, resources, where, nodes > 0))
        requests[key] = replace(known, kinds=(*known.kinds, kind), pods=max(known.pods, nodes, 1))
    return list(requests.values())


def train_job_nodes(profile: Profile, kind: StepKind) -> int:
    """Return how many nodes a kind of step's TrainJob has; 0 where the step creates none."""
    if profile.training.launcher != "trainjob":
        return 0
    shards = profile.shards if kind == "generate" and profile.shards > 1 else 0
    return profile.training.nodes if kind == "train" else shards


def queues_of(requests: Sequence[PodRequest]) -> dict[tuple[str, str], list[PodRequest]]:
    """Return the requests of each Kueue LocalQueue, by its namespace and name."""
    queues: dict[tuple[str, str], list[PodRequest]] = {}
    for each in requests:
        if each.resources.queue:
            queues.setdefault((each.namespace, each.resources.queue), []).append(each)
    return queues


def pair_memory_findings(inputs: CheckInputs) -> Iterator[Finding]:
    """Yield a finding if the pods of `pair` have, or may have, too little memory.

    The state is `unknown` if prompt files cannot be read; the subject `prompts` says why.
    """
    recipe, name, found = inputs.recipe, "memory for pair", missing
    try:
        prompts = read_prompts(recipe)
    except LidrError:
        prompts, found = PlannedPrompts(recipe.prompts.per_iteration, {}), unknown
    if fault := pair_memory_fault(inputs.profile, planned_pairs(recipe, prompts)):
        yield found(name, fault, REMEDY)


def capacity_findings(
    inputs: CheckInputs, api: ClusterApi, namespaces: FoundNamespaces
) -> Iterator[Finding]:
    """Yield whether quotas, nodes and queues have room for the pods of every kind of step."""
    requests = requests_of(inputs.recipe, inputs.profile, namespaces.pods, namespaces.training)
    for namespace in dict.fromkeys(each.namespace for each in requests):
        yield from quota_findings(api, namespace, [r for r in requests if r.namespace == namespace])
    yield from nodes_findings(api, requests)
    yield from pair_memory_findings(inputs)
    for (namespace, queue), waiting in queues_of(requests).items():
        yield from queue_findings(api, namespace, queue, waiting)
