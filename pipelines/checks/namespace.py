"""Whether a run's namespaces hold the objects that a profile names."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lidr.components.shared.config.notify import NOTIFY_URL
from lidr.components.shared.config.profile import TrainingPlacement
from lidr.pipelines.checks.capacity import queues_of, requests_of
from lidr.pipelines.checks.finding import (
    CheckInputs,
    Finding,
    FoundNamespaces,
    missing,
    ok,
    unknown,
)
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object
from lidr.pipelines.cluster.platform import KUEUE, TRAINER
from lidr.pipelines.placement import SETTINGS

_APPLY = "kubectl apply -k manifests/overlays/NAME"
_SECRETS = "manifests/README.md, Secrets"
_KUEUE_VERSION = "kueue.x-k8s.io/v1beta2"
_TRAINER_VERSION = "trainer.kubeflow.org/v1alpha1"


def objects_findings(
    inputs: CheckInputs, api: ClusterApi, namespaces: FoundNamespaces
) -> Iterator[Finding]:
    """Yield whether the namespaces exist, and whether they hold what the profile names."""
    pods, training, profile = namespaces.pods, namespaces.training, inputs.profile
    yield namespaces.finding
    for name in dict.fromkeys((pods, training)):
        remedy = f"kubectl create namespace {name}, or {_APPLY}/cluster"
        namespace = _check(api, f"Namespace {name}", f"/api/v1/namespaces/{name}", remedy)
        yield namespace
        if namespace.state == "missing":
            return
    yield _account(api, pods, profile.service_account)
    for name, keys in profile.secrets.items():
        yield _secret(api, pods, name, keys)
    if profile.notify:  # a run also works without this Secret, but sends no notice
        yield _secret(api, pods, profile.notify.secret, (NOTIFY_URL,))
    for name in profile.config_maps:
        yield _config_map(api, pods, name)
    place = profile.training
    if place.launcher == "trainjob":
        yield from _runtime(api, training, place, place.runtime, "runtime")
        if profile.shards > 1:
            yield from _runtime(api, training, place, place.rollout_runtime, "rollout_runtime")
    requests = requests_of(inputs.recipe, profile, pods, training)
    for where, queue in queues_of(requests):
        yield from _queue(api, where, queue)
    for priority in dict.fromkeys(each.resources.priority for each in requests):
        if priority:
            path = f"/apis/{_KUEUE_VERSION}/workloadpriorityclasses/{priority}"
            remedy = "kubectl get workloadpriorityclass lists them; correct priority"
            yield _check(api, f"WorkloadPriorityClass {priority}", path, remedy, "value")


def _read(api: ClusterApi, name: str, path: str, remedy: str) -> tuple[Finding, Object]:
    """Return whether an object exists, and the object; {} if it is missing or cannot be read."""
    try:
        found = api.get(path)
    except Denied as error:
        remedy = f"kubectl auth can-i get {path.rsplit('/', 2)[1]}"
        return unknown(name, error.message, remedy), {}
    return (ok(name), found) if found else (missing(name, "is not there", remedy), {})


def _check(api: ClusterApi, name: str, path: str, remedy: str, field: str = "") -> Finding:
    """Return whether an object exists, with the value of one of its fields as the detail."""
    finding, found = _read(api, name, path, remedy)
    return ok(name, str(found.get(field, ""))) if found else finding


def _account(api: ClusterApi, namespace: str, name: str) -> Finding:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
    return _check(api, f"ServiceAccount {name}", path, _APPLY)


def _secret(api: ClusterApi, namespace: str, name: str, keys: Collection[str]) -> Finding:
    pairs = " ".join(f"--from-literal={key}=..." for key in keys)
    remedy = f"kubectl create secret generic {name} -n {namespace} {pairs} ({_SECRETS})"
    path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
    finding, secret = _read(api, f"Secret {name}", path, remedy)
    if not secret:
        return finding
    if lacking := [key for key in keys if not (secret.get("data") or {}).get(key)]:
        detail = f"has no {', '.join(lacking)}, or it is empty"
        remedy = f"kubectl edit secret {name} -n {namespace} ({_SECRETS})"
        return missing(finding.name, detail, remedy)
    return ok(finding.name, ", ".join(keys))


def _config_map(api: ClusterApi, namespace: str, name: str) -> Finding:
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    finding, config_map = _read(api, f"ConfigMap {name}", path, _APPLY)
    if not config_map:
        return finding
    keys = sorted(config_map.get("data") or {})
    detail = ", ".join(keys)
    if lost := [key for key in keys if key not in SETTINGS]:
        names = ", ".join(lost)
        detail += f"; a step's own pod does not get {names} (docs/cluster.md, Settings of steps)"
    return ok(finding.name, detail)


def _runtime(
    api: ClusterApi, namespace: str, place: TrainingPlacement, name: str, key: str
) -> Iterator[Finding]:
    title = f"TrainingRuntime {name}"
    if not api.serves(_TRAINER_VERSION, "trainingruntimes"):
        yield unknown(title, f"not looked at: {TRAINER.name} does not serve {_TRAINER_VERSION}")
        return
    path = f"/apis/{_TRAINER_VERSION}/namespaces/{namespace}/trainingruntimes/{name}"
    remedy = f"{_APPLY} (its base holds TrainingRuntimes), or set training.{key}"
    finding, runtime = _read(api, title, path, remedy)
    yield finding
    if runtime:
        own = {"serviceAccountName": place.service_account} if place.service_account else {}
        for job in runtime["spec"]["template"]["spec"]["replicatedJobs"]:
            pod = job["template"]["spec"]["template"]["spec"] | own
            yield from _required_by(api, namespace, pod)


def _required_by(api: ClusterApi, namespace: str, pod: Object) -> Iterator[Finding]:
    """Yield whether each object exists without which a runtime's pods cannot start."""
    if account := pod.get("serviceAccountName"):
        yield _account(api, namespace, account)
    if priority := pod.get("priorityClassName"):
        path = f"/apis/scheduling.k8s.io/v1/priorityclasses/{priority}"
        remedy = f"{_APPLY}/cluster, by an administrator"
        yield _check(api, f"PriorityClass {priority}", path, remedy)
    for name in dict.fromkeys(_storage_classes(pod)):
        path = f"/apis/storage.k8s.io/v1/storageclasses/{name}"
        remedy = "kubectl get storageclass lists them; set it in the overlay"
        yield _check(api, f"StorageClass {name}", path, remedy, "provisioner")
    for source in (each for box in pod["containers"] for each in box.get("envFrom", [])):
        reference = source.get("secretRef") or {}
        if reference and not reference.get("optional"):
            yield _secret(api, namespace, reference["name"], ())


def _storage_classes(pod: Object) -> Iterator[str]:
    for volume in pod.get("volumes", []):
        claim: Any = (volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}
        if name := claim.get("spec", {}).get("storageClassName"):
            yield name


def _queue(api: ClusterApi, namespace: str, name: str) -> Iterator[Finding]:
    """Yield whether a LocalQueue and its ClusterQueue exist and admit anything."""
    title = f"LocalQueue {name}"
    if not api.serves(_KUEUE_VERSION, "localqueues"):
        yield unknown(title, f"not looked at: {KUEUE.name} does not serve {_KUEUE_VERSION}")
        return
    path = f"/apis/{_KUEUE_VERSION}/namespaces/{namespace}/localqueues/{name}"
    remedy = f"{_APPLY} with manifests/components/kueue, or leave queue empty in the profile"
    finding, local_queue = _read(api, title, path, remedy)
    if not local_queue:
        yield finding
        return
    cluster = local_queue["spec"]["clusterQueue"]
    path = f"/apis/{_KUEUE_VERSION}/clusterqueues/{cluster}"
    remedy = f"{_APPLY}/cluster, by an administrator"
    above, cluster_queue = _read(api, f"ClusterQueue {cluster}", path, remedy)
    if cluster_queue:
        above = _admits(api, above.name, cluster_queue, namespace)
    if above.state == "missing":  # then the LocalQueue is inactive, too: one cause, one finding
        yield ok(title, f"of ClusterQueue {cluster}")
    else:
        yield _active(title, local_queue, f"kubectl describe localqueue {name} -n {namespace}")
    yield above


def _admits(api: ClusterApi, title: str, queue: Object, namespace: str) -> Finding:
    """Return whether a ClusterQueue is active and selects the namespace; otherwise pods wait."""
    describe = f"kubectl describe clusterqueue {queue['metadata']['name']}"
    finding = _active(title, queue, describe)
    if finding.state == "missing":
        return finding
    labels = _labels(api, namespace)
    if labels is not None and not _selects(queue["spec"].get("namespaceSelector"), labels):
        detail = f"admits nothing of namespace {namespace}, which its namespaceSelector leaves out"
        return missing(title, detail, f"{describe}; apply cluster/ of the overlay for {namespace}")
    return finding


def _active(title: str, queue: Object, describe: str) -> Finding:
    conditions = {each["type"]: each for each in queue.get("status", {}).get("conditions", [])}
    active = conditions.get("Active")
    if active and active["status"] != "True":
        reason = active.get("message") or active.get("reason") or "no reason is given"
        return missing(title, f"is not active: {reason}", f"{describe} says what it lacks")
    if not active:
        return unknown(title, "Kueue has not processed it yet", f"{describe} says more")
    return ok(title, "active")


def _labels(api: ClusterApi, namespace: str) -> dict[str, str] | None:
    """Return a namespace's labels, or None where it may not be read."""
    try:
        metadata = (api.get(f"/api/v1/namespaces/{namespace}") or {}).get("metadata", {})
    except Denied:
        return None
    named = {"kubernetes.io/metadata.name": namespace}  # Kubernetes labels each with its name
    return named | (metadata.get("labels") or {})


def _selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Evaluate a label selector (meta/v1 LabelSelector); None selects nothing."""
    if selector is None:
        return False
    equal = selector.get("matchLabels") or {}
    return equal.items() <= labels.items() and all(
        _matches(each, labels) for each in selector.get("matchExpressions") or []
    )


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None
