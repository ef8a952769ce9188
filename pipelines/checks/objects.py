"""Whether the objects that a profile names are in its namespaces."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from lidr.components.shared.config.profile import TrainingPlace
from lidr.pipelines.checks.api import ClusterApi, Object
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown
from lidr.pipelines.checks.place import PlaceFinder
from lidr.pipelines.checks.platform import TRAINER
from lidr.pipelines.checks.probe import APPLY, look
from lidr.pipelines.checks.queues import findings as queue_findings
from lidr.pipelines.checks.queues import workload_priority
from lidr.pipelines.checks.resource_requests import asks_of, queues_of

_SECRETS = "manifests/README.md, Secrets"


def findings(inputs: CheckInputs, api: ClusterApi, place: PlaceFinder) -> Iterator[Finding]:
    """Yield the namespaces, and what must be in them."""
    if not api.is_reached():
        yield unknown("objects", "not looked at: the Kubernetes API does not answer")
        return
    found = place.find()
    pods, training = found.pods, found.training
    yield found.finding
    for namespace in dict.fromkeys((pods, training)):
        there = _namespace(api, namespace)
        yield there
        if there.state == "missing":
            return
    yield from _environment(inputs, api, pods)
    nodes = inputs.profile.training
    if nodes.launcher == "trainjob":
        yield from _runtime(api, training, nodes, nodes.runtime, "runtime")
        if inputs.profile.shards > 1:
            yield from _runtime(api, training, nodes, nodes.rollout_runtime, "rollout_runtime")
    asks = asks_of(inputs.recipe, inputs.profile, pods, training)
    for namespace, queue in queues_of(asks):
        yield from queue_findings(api, namespace, queue)
    for priority in dict.fromkeys(ask.resources.priority for ask in asks):
        if priority:
            yield workload_priority(api, priority)


def _namespace(api: ClusterApi, name: str) -> Finding:
    title = f"Namespace {name}"
    remedy = f"kubectl create namespace {name}, or {APPLY}/cluster"
    return look(api, title, f"/api/v1/namespaces/{name}", remedy, lambda _: ok(title))


def _environment(inputs: CheckInputs, api: ClusterApi, namespace: str) -> Iterator[Finding]:
    """Yield what the pods of every step are given."""
    profile, place = inputs.profile, f"/api/v1/namespaces/{namespace}"
    yield _account(api, namespace, profile.service_account)
    for name, keys in profile.secrets.items():
        yield _secret(api, namespace, name, keys)
    for name in profile.config_maps:
        title = f"ConfigMap {name}"
        yield look(api, title, f"{place}/configmaps/{name}", APPLY, lambda found: _map(found))


def _map(found: Object) -> Finding:
    keys = ", ".join(sorted(found.get("data") or {}))
    return ok(f"ConfigMap {found['metadata']['name']}", keys)


def _account(api: ClusterApi, namespace: str, name: str) -> Finding:
    title = f"ServiceAccount {name}"
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
    return look(api, title, path, APPLY, lambda _: ok(title))


def _secret(api: ClusterApi, namespace: str, name: str, keys: Collection[str]) -> Finding:
    title = f"Secret {name}"
    pairs = " ".join(f"--from-literal={key}=..." for key in keys)
    made = f"kubectl create secret generic {name} -n {namespace} {pairs} ({_SECRETS})"

    def judge(found: Object) -> Finding:
        lacking = [key for key in keys if not (found.get("data") or {}).get(key)]
        if lacking:
            told = f"has no {', '.join(lacking)}, or it is empty"
            return missing(title, told, f"kubectl edit secret {name} -n {namespace} ({_SECRETS})")
        return ok(title, ", ".join(keys))

    return look(api, title, f"/api/v1/namespaces/{namespace}/secrets/{name}", made, judge)


def _runtime(
    api: ClusterApi, namespace: str, place: TrainingPlace, name: str, key: str
) -> Iterator[Finding]:
    group = "trainer.kubeflow.org/v1alpha1"
    title = f"TrainingRuntime {name}"
    if not api.serves(group, "trainingruntimes"):
        yield unknown(title, f"not looked at: {TRAINER.name} does not serve {group}")
        return
    pods: list[Object] = []

    def judge(found: Object) -> Finding:
        own = {"serviceAccountName": place.service_account} if place.service_account else {}
        pods.extend(pod | own for pod in _pods(found))
        return ok(title)

    path = f"/apis/{group}/namespaces/{namespace}/trainingruntimes/{name}"
    remedy = f"{APPLY} (its base holds TrainingRuntimes), or set training.{key}"
    yield look(api, title, path, remedy, judge)
    for pod in pods:
        yield from _needs_of(api, namespace, pod)


def _pods(runtime: Object) -> list[Object]:
    jobs = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    return [job["template"]["spec"]["template"]["spec"] for job in jobs]


def _needs_of(api: ClusterApi, namespace: str, pod: Object) -> Iterator[Finding]:
    """Yield what the runtime's pods cannot do without."""
    if account := pod.get("serviceAccountName"):
        yield _account(api, namespace, account)
    if priority := pod.get("priorityClassName"):
        title, path = f"PriorityClass {priority}", "/apis/scheduling.k8s.io/v1/priorityclasses"
        remedy = f"{APPLY}/cluster, by an administrator"
        yield look(api, title, f"{path}/{priority}", remedy, lambda _: ok(title))
    for name in dict.fromkeys(_storage_classes(pod)):
        yield _storage_class(api, name)
    for source in (each for box in pod["containers"] for each in box.get("envFrom", [])):
        reference = source.get("secretRef") or {}
        if reference and not reference.get("optional"):
            yield _secret(api, namespace, reference["name"], ())


def _storage_classes(pod: Object) -> Iterator[str]:
    for volume in pod.get("volumes", []):
        claim: Any = (volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}
        if name := claim.get("spec", {}).get("storageClassName"):
            yield name


def _storage_class(api: ClusterApi, name: str) -> Finding:
    title, path = f"StorageClass {name}", f"/apis/storage.k8s.io/v1/storageclasses/{name}"
    remedy = "kubectl get storageclass names those there are; set it in the overlay"
    return look(api, title, path, remedy, lambda found: ok(title, found.get("provisioner", "")))
