"""Whether the objects that a profile names are in its namespaces."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from pipelines.checks.api import ClusterApi, Denied, Object
from pipelines.checks.capacity import asks_of, queues_of
from pipelines.checks.finding import Finding, Inputs, missing, ok, unknown
from pipelines.checks.platform import KUEUE, TRAINER

_APPLY = "kubectl apply -k manifests/overlays/NAME"
_SECRETS = "manifests/README.md, Secrets"


def findings(inputs: Inputs, api: ClusterApi) -> Iterator[Finding]:
    """Yield the namespaces, and what must be in them."""
    if not api.is_reached():
        yield unknown("objects", "not looked at: the Kubernetes API does not answer")
        return
    pods, training = api.namespaces(inputs.profile)
    for namespace in dict.fromkeys((pods, training)):
        found = _namespace(api, namespace)
        yield found
        if found.state == "missing":
            return
    yield from _environment(inputs, api, pods)
    if inputs.profile.training.launcher == "trainjob":
        yield from _runtime(api, training, inputs.profile.training.runtime)
    for namespace, queue in queues_of(asks_of(inputs.profile, pods, training)):
        yield from _queue(api, namespace, queue)


def look(
    api: ClusterApi, name: str, path: str, remedy: str, judge: Callable[[Object], Finding]
) -> Finding:
    """Return what is to be said of one object.

    Args:
        api: the cluster.
        name: of the finding.
        path: of the object.
        remedy: where there is none.
        judge: says what is to be said of it where it is there.
    """
    try:
        found = api.get(path)
    except Denied as error:
        return unknown(name, error.message, f"kubectl auth can-i get {path.rsplit('/', 2)[1]}")
    return judge(found) if found else missing(name, "is not there", remedy)


def _namespace(api: ClusterApi, name: str) -> Finding:
    title = f"Namespace {name}"
    remedy = f"kubectl create namespace {name}, or {_APPLY}/cluster"
    return look(api, title, f"/api/v1/namespaces/{name}", remedy, lambda _: ok(title))


def _environment(inputs: Inputs, api: ClusterApi, namespace: str) -> Iterator[Finding]:
    """Yield what the pods of every step are given."""
    profile, place = inputs.profile, f"/api/v1/namespaces/{namespace}"
    yield _account(api, namespace, profile.service_account)
    for name, keys in profile.secrets.items():
        yield _secret(api, namespace, name, keys)
    for name in profile.config_maps:
        title = f"ConfigMap {name}"
        yield look(api, title, f"{place}/configmaps/{name}", _APPLY, lambda found: _map(found))


def _map(found: Object) -> Finding:
    keys = ", ".join(sorted(found.get("data") or {}))
    return ok(f"ConfigMap {found['metadata']['name']}", keys)


def _account(api: ClusterApi, namespace: str, name: str) -> Finding:
    title = f"ServiceAccount {name}"
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
    return look(api, title, path, _APPLY, lambda _: ok(title))


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


def _runtime(api: ClusterApi, namespace: str, name: str) -> Iterator[Finding]:
    title, group = f"TrainingRuntime {name}", "trainer.kubeflow.org/v1alpha1"
    if not api.serves(group, "trainingruntimes"):
        yield unknown(title, f"not looked at: {TRAINER.name} does not serve {group}")
        return
    pods: list[Object] = []

    def judge(found: Object) -> Finding:
        pods.extend(_pods(found))
        return ok(title)

    path = f"/apis/{group}/namespaces/{namespace}/trainingruntimes/{name}"
    remedy = f"{_APPLY} (it holds manifests/base/training-runtime.yaml), or set training.runtime"
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
        remedy = f"{_APPLY}/cluster, by an administrator"
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


def _queue(api: ClusterApi, namespace: str, name: str) -> Iterator[Finding]:
    title, group = f"LocalQueue {name}", "kueue.x-k8s.io/v1beta2"
    if not api.serves(group, "localqueues"):
        yield unknown(title, f"not looked at: {KUEUE.name} does not serve {group}")
        return
    kept: list[str] = []

    def judge(found: Object) -> Finding:
        kept.append(found["spec"]["clusterQueue"])
        return ok(title, f"of ClusterQueue {kept[0]}")

    path = f"/apis/{group}/namespaces/{namespace}/localqueues/{name}"
    remedy = f"{_APPLY} with manifests/components/kueue, or leave queue out of the pools"
    found = look(api, title, path, remedy, judge)
    if not kept:
        yield found
        return
    shared = f"ClusterQueue {kept[0]}"
    remedy = "kubectl apply -k manifests/overlays/NAME/cluster, by an administrator"
    above = look(
        api,
        shared,
        f"/apis/{group}/clusterqueues/{kept[0]}",
        remedy,
        lambda found: _active(shared, found, f"kubectl describe clusterqueue {kept[0]}"),
    )
    # An inactive ClusterQueue makes its LocalQueues inactive: one cause, one finding.
    if above.state != "missing":
        own = api.get(path) or {}
        found = _active(title, own, f"kubectl describe localqueue {name} -n {namespace}")
    yield found
    yield above


def _active(title: str, found: Object, describe: str) -> Finding:
    conditions = {each["type"]: each for each in found.get("status", {}).get("conditions", [])}
    active = conditions.get("Active")
    if active and active["status"] != "True":
        told = active.get("message") or active.get("reason") or "no reason is given"
        return missing(title, f"is not active: {told}", f"{describe} says what it lacks")
    if not active:
        return unknown(title, "Kueue has not looked at it yet", f"{describe} says more")
    return ok(title, "active")
