"""Who may do what: the user who submits, and the service account that the pipeline's pods have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lidr.pipelines.checks.api import ClusterApi, Denied, Object
from lidr.pipelines.checks.finding import CheckInputs, Finding, missing, ok, unknown
from lidr.pipelines.checks.place import PlaceFinder
from lidr.pipelines.checks.resource_requests import asks_of, queues_of


class Right(NamedTuple):
    """A verb on a resource, of one object where `name` is set."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""

    def __str__(self) -> str:
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {kind}{f'/{self.name}' if self.name else ''}"


_OWN = "your rights"
_TRAINER = "trainer.kubeflow.org"
_KUEUE = "kueue.x-k8s.io"

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
"""What Kubeflow's executor, driver and launcher do, and who waits for another run's lease
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


def findings(inputs: CheckInputs, api: ClusterApi, place: PlaceFinder) -> Iterator[Finding]:
    """Yield who may not do what it has to: one finding a right, or one where all are there."""
    if not api.is_reached():
        yield unknown("rights", "not looked at: the Kubernetes API does not answer")
        return
    pods, training = place.find().pods, place.find().training
    jobs = inputs.profile.training.launcher == "trainjob"
    queues = queues_of(asks_of(inputs.recipe, inputs.profile, pods, training))
    own = [(pods, right) for right in OF_PODS]
    own += [(training, right) for right in OF_TRAINING if jobs]
    own += [(namespace, right) for namespace, _ in queues for right in OF_QUEUE]
    yield from _reviewed(_OWN, own, lambda where, right: _mine(api, where, right))

    account = f"system:serviceaccount:{pods}:{inputs.profile.service_account}"
    steps = [(pods, right) for right in OF_PIPELINE]
    steps += [(training, right) for right in OF_LAUNCHER if jobs]
    who = f"rights of {inputs.profile.service_account}"
    yield from _reviewed(who, steps, lambda where, right: _theirs(api, account, where, right))


Place = tuple[str, Right]
"""A namespace, and a right in it."""


def _reviewed(
    who: str, places: Sequence[Place], ask: Callable[[str, Right], bool]
) -> Iterator[Finding]:
    asked = list(dict.fromkeys(places))
    try:
        denied = [place for place in asked if not ask(*place)]
    except Denied:
        told = f"you may not ask; needed are: {_listed(asked)}"
        yield unknown(who, told, "An administrator can: kubectl auth can-i VERB KIND --as=NAME")
        return
    for namespace, right in denied:
        told = f"may not {right} in namespace {namespace}"
        yield missing(f"{who}: {right}", told, _remedy(who, namespace))
    if not denied:
        yield ok(who, _listed(asked))


def _remedy(who: str, namespace: str) -> str:
    if who == _OWN:
        return f"Ask the owner of namespace {namespace} for the role kubeflow-edit, or edit."
    return f"kubectl apply -k manifests/overlays/NAME, whose roles belong into {namespace}"


def _listed(places: Sequence[Place]) -> str:
    return ", ".join(dict.fromkeys(str(right) for _, right in places))


def _mine(api: ClusterApi, namespace: str, right: Right) -> bool:
    spec = {"resourceAttributes": _attributes(namespace, right)}
    return api.review("SelfSubjectAccessReview", spec)


def _theirs(api: ClusterApi, account: str, namespace: str, right: Right) -> bool:
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{account.split(':')[2]}"]
    attributes = _attributes(namespace, right)
    spec = {
        "user": account,
        "groups": [*groups, "system:authenticated"],
        "resourceAttributes": attributes,
    }
    return api.review("SubjectAccessReview", spec)


def _attributes(namespace: str, right: Right) -> Object:
    resource, _, part = right.resource.partition("/")
    found = {"namespace": namespace, "verb": right.verb, "group": right.group, "name": right.name}
    return {**found, "resource": resource, **({"subresource": part} if part else {})}
