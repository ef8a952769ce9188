"""Whether a run's namespaces hold the objects that a profile names, and who may do what in them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lidr.components.shared.config.notify import NOTIFY_URL
from lidr.components.shared.config.profile import TrainingPlace
from lidr.pipelines.checks.capacity import queues_of, requests_of
from lidr.pipelines.checks.finding import CheckInputs, Finding, Place, missing, ok, unknown
from lidr.pipelines.cluster.api import ClusterApi, Denied, Object
from lidr.pipelines.cluster.platform import KUEUE, TRAINER

_APPLY = "kubectl apply -k manifests/overlays/NAME"
_SECRETS = "manifests/README.md, Secrets"
_KUEUE = "kueue.x-k8s.io"
_KUEUE_VERSION = f"{_KUEUE}/v1beta2"
_TRAINER = "trainer.kubeflow.org"


class Right(NamedTuple):
    """A verb on a resource, of one object where `name` is set."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""

    def __str__(self) -> str:
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {kind}{f'/{self.name}' if self.name else ''}"


OF_PODS = (
    Right("get", "pods"),
    Right("list", "pods"),
    Right("get", "pods/log"),
    Right("list", "events"),
)
"""What `lidr status` and `lidr logs` do where the pipeline's pods are."""

OF_TRAINING = (
    Right("get", "pods"),
    Right("list", "pods"),
    Right("list", "trainjobs", _TRAINER),
    Right("delete", "trainjobs", _TRAINER),
)
"""What `lidr status` and `lidr cancel` do where the TrainJobs are."""

OF_QUEUE = (Right("list", "workloads", _KUEUE),)

OF_PIPELINE = (
    Right("create", "workflowtaskresults", "argoproj.io"),
    Right("patch", "workflowtaskresults", "argoproj.io"),
    Right("get", "configmaps", "", "kfp-launcher"),
    Right("get", "secrets", "", "mlpipeline-minio-artifact"),
    Right("list", "workflows", "argoproj.io"),
)
"""What Kubeflow's executor, driver and launcher do, and a run that waits for another's lease
(manifests/base/roles.yaml)."""

OF_LAUNCHER = (
    Right("create", "trainjobs", _TRAINER),
    Right("get", "trainjobs", _TRAINER),
    Right("delete", "trainjobs", _TRAINER),
    Right("get", "trainingruntimes", _TRAINER),
    Right("get", "pods"),
    Right("list", "pods"),
    Right("get", "pods/log"),
)
"""What the train step does (manifests/base/roles.yaml)."""


def objects_findings(inputs: CheckInputs, api: ClusterApi, place: Place) -> Iterator[Finding]:
    """Yield the namespaces, and what must be in them."""
    yield place.finding
    for name in dict.fromkeys((place.pods, place.training)):
        remedy = f"kubectl create namespace {name}, or {_APPLY}/cluster"
        namespace = _look(api, f"Namespace {name}", f"/api/v1/namespaces/{name}", remedy)
        yield namespace
        if namespace.state == "missing":
            return
    profile = inputs.profile
    yield _account(api, place.pods, profile.service_account)
    for name, keys in profile.secrets.items():
        yield _secret(api, place.pods, name, keys)
    if profile.notify:  # without it a run ends all the same, and nobody is told
        yield _secret(api, place.pods, profile.notify.secret, (NOTIFY_URL,))
    for name in profile.config_maps:
        path = f"/api/v1/namespaces/{place.pods}/configmaps/{name}"
        yield _look(api, f"ConfigMap {name}", path, _APPLY, _keys)
    nodes = profile.training
    if nodes.launcher == "trainjob":
        yield from _runtime(api, place.training, nodes, nodes.runtime, "runtime")
        if profile.shards > 1:
            yield from _runtime(
                api, place.training, nodes, nodes.rollout_runtime, "rollout_runtime"
            )
    requests = requests_of(inputs.recipe, profile, place.pods, place.training)
    for where, queue in queues_of(requests):
        yield from _queue(api, where, queue)
    for priority in dict.fromkeys(each.resources.priority for each in requests):
        if priority:
            path = f"/apis/{_KUEUE_VERSION}/workloadpriorityclasses/{priority}"
            remedy = "kubectl get workloadpriorityclass names those there are; correct priority"
            yield _look(api, f"WorkloadPriorityClass {priority}", path, remedy, _value)


def _look(
    api: ClusterApi,
    name: str,
    path: str,
    remedy: str,
    judge: Callable[[str, Object], Finding] = lambda name, _: ok(name),
) -> Finding:
    """Return a finding about one object.

    Args:
        api: the cluster.
        name: of the finding.
        path: of the object.
        remedy: where it does not exist.
        judge: takes the finding's name and the object, where it exists.
    """
    try:
        thing = api.get(path)
    except Denied as error:
        return unknown(name, error.message, f"kubectl auth can-i get {path.rsplit('/', 2)[1]}")
    return judge(name, thing) if thing else missing(name, "is not there", remedy)


def _keys(title: str, config_map: Object) -> Finding:
    return ok(title, ", ".join(sorted(config_map.get("data") or {})))


def _value(title: str, priority_class: Object) -> Finding:
    return ok(title, str(priority_class.get("value", "")))


def _account(api: ClusterApi, namespace: str, name: str) -> Finding:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
    return _look(api, f"ServiceAccount {name}", path, _APPLY)


def _secret(api: ClusterApi, namespace: str, name: str, keys: Collection[str]) -> Finding:
    pairs = " ".join(f"--from-literal={key}=..." for key in keys)
    remedy = f"kubectl create secret generic {name} -n {namespace} {pairs} ({_SECRETS})"

    def judge(title: str, secret: Object) -> Finding:
        lacking = [key for key in keys if not (secret.get("data") or {}).get(key)]
        if lacking:
            detail = f"has no {', '.join(lacking)}, or it is empty"
            return missing(title, detail, f"kubectl edit secret {name} -n {namespace} ({_SECRETS})")
        return ok(title, ", ".join(keys))

    path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
    return _look(api, f"Secret {name}", path, remedy, judge)


def _runtime(
    api: ClusterApi, namespace: str, place: TrainingPlace, name: str, key: str
) -> Iterator[Finding]:
    group = f"{_TRAINER}/v1alpha1"
    title = f"TrainingRuntime {name}"
    if not api.serves(group, "trainingruntimes"):
        yield unknown(title, f"not looked at: {TRAINER.name} does not serve {group}")
        return
    pods: list[Object] = []

    def judge(title: str, runtime: Object) -> Finding:
        own = {"serviceAccountName": place.service_account} if place.service_account else {}
        jobs = runtime["spec"]["template"]["spec"]["replicatedJobs"]
        pods.extend(job["template"]["spec"]["template"]["spec"] | own for job in jobs)
        return ok(title)

    path = f"/apis/{group}/namespaces/{namespace}/trainingruntimes/{name}"
    remedy = f"{_APPLY} (its base holds TrainingRuntimes), or set training.{key}"
    yield _look(api, title, path, remedy, judge)
    for pod in pods:
        yield from _required_by(api, namespace, pod)


def _required_by(api: ClusterApi, namespace: str, pod: Object) -> Iterator[Finding]:
    """Yield the objects without which a runtime's pods cannot start."""
    if account := pod.get("serviceAccountName"):
        yield _account(api, namespace, account)
    if priority := pod.get("priorityClassName"):
        path = f"/apis/scheduling.k8s.io/v1/priorityclasses/{priority}"
        remedy = f"{_APPLY}/cluster, by an administrator"
        yield _look(api, f"PriorityClass {priority}", path, remedy)
    for name in dict.fromkeys(_storage_classes(pod)):
        path = f"/apis/storage.k8s.io/v1/storageclasses/{name}"
        remedy = "kubectl get storageclass names those there are; set it in the overlay"
        yield _look(api, f"StorageClass {name}", path, remedy, _provisioner)
    for source in (each for box in pod["containers"] for each in box.get("envFrom", [])):
        reference = source.get("secretRef") or {}
        if reference and not reference.get("optional"):
            yield _secret(api, namespace, reference["name"], ())


def _storage_classes(pod: Object) -> Iterator[str]:
    for volume in pod.get("volumes", []):
        claim: Any = (volume.get("ephemeral") or {}).get("volumeClaimTemplate") or {}
        if name := claim.get("spec", {}).get("storageClassName"):
            yield name


def _provisioner(title: str, storage_class: Object) -> Finding:
    return ok(title, storage_class.get("provisioner", ""))


def _queue(api: ClusterApi, namespace: str, name: str) -> Iterator[Finding]:
    """Yield whether a LocalQueue and its ClusterQueue exist and admit anything."""
    title = f"LocalQueue {name}"
    if not api.serves(_KUEUE_VERSION, "localqueues"):
        yield unknown(title, f"not looked at: {KUEUE.name} does not serve {_KUEUE_VERSION}")
        return
    path = f"/apis/{_KUEUE_VERSION}/namespaces/{namespace}/localqueues/{name}"
    remedy = f"{_APPLY} with manifests/components/kueue, or leave queue empty in the profile"
    clusters: list[str] = []

    def judge(title: str, queue: Object) -> Finding:
        clusters.append(queue["spec"]["clusterQueue"])
        return ok(title, f"of ClusterQueue {clusters[0]}")

    finding = _look(api, title, path, remedy, judge)
    if not clusters:
        yield finding
        return
    above = _look(
        api,
        f"ClusterQueue {clusters[0]}",
        f"/apis/{_KUEUE_VERSION}/clusterqueues/{clusters[0]}",
        "kubectl apply -k manifests/overlays/NAME/cluster, by an administrator",
        lambda title, queue: _admits(api, title, queue, namespace),
    )
    # An inactive ClusterQueue makes its LocalQueues inactive: one cause, one finding.
    if above.state != "missing":
        describe = f"kubectl describe localqueue {name} -n {namespace}"
        finding = _active(title, api.get(path) or {}, describe)
    yield finding
    yield above


def _admits(api: ClusterApi, title: str, queue: Object, namespace: str) -> Finding:
    """Return whether a ClusterQueue is active and selects this namespace: else everything waits."""
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
        return unknown(title, "Kueue has not looked at it yet", f"{describe} says more")
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


def rights_findings(inputs: CheckInputs, api: ClusterApi, place: Place) -> Iterator[Finding]:
    """Yield the rights that the user, and the pods' service account, do not have."""
    pods, training = place.pods, place.training
    jobs = inputs.profile.training.launcher == "trainjob"
    queues = queues_of(requests_of(inputs.recipe, inputs.profile, pods, training))
    own = [(pods, right) for right in OF_PODS]
    own += [(training, right) for right in OF_TRAINING if jobs]
    own += [(namespace, right) for namespace, _ in queues for right in OF_QUEUE]
    yield from _reviewed(
        "your rights",
        own,
        lambda right: api.review("SelfSubjectAccessReview", {"resourceAttributes": right}),
        "Ask the owner of namespace {} for the role kubeflow-edit, or edit.",
    )

    account = inputs.profile.service_account
    groups = ("serviceaccounts", f"serviceaccounts:{pods}", "authenticated")
    subject = {
        "user": f"system:serviceaccount:{pods}:{account}",
        "groups": [f"system:{group}" for group in groups],
    }
    steps = [(pods, right) for right in OF_PIPELINE]
    steps += [(training, right) for right in OF_LAUNCHER if jobs]
    yield from _reviewed(
        f"rights of {account}",
        steps,
        lambda right: api.review("SubjectAccessReview", {**subject, "resourceAttributes": right}),
        f"{_APPLY}, whose roles belong into {{}}",
    )


def _reviewed(
    who: str,
    rights: Sequence[tuple[str, Right]],
    is_allowed: Callable[[Object], bool],
    remedy: str,
) -> Iterator[Finding]:
    """Yield each right that is denied, or one finding where none is.

    Args:
        who: begins the findings' names.
        rights: a namespace, and a right in it.
        is_allowed: takes the `resourceAttributes` of an access review.
        remedy: for a denied right; `{}` stands for its namespace.
    """
    wanted = list(dict.fromkeys(rights))
    listed = ", ".join(dict.fromkeys(str(right) for _, right in wanted))
    try:
        denied = [each for each in wanted if not is_allowed(_attributes(*each))]
    except Denied:
        detail = f"you may not ask; needed are: {listed}"
        yield unknown(who, detail, "An administrator can: kubectl auth can-i VERB KIND --as=NAME")
        return
    for namespace, right in denied:
        detail = f"may not {right} in namespace {namespace}"
        yield missing(f"{who}: {right}", detail, remedy.format(namespace))
    if not denied:
        yield ok(who, listed)


def _attributes(namespace: str, right: Right) -> Object:
    resource, _, part = right.resource.partition("/")
    place = {"namespace": namespace, "verb": right.verb, "group": right.group, "name": right.name}
    return {**place, "resource": resource, **({"subresource": part} if part else {})}
