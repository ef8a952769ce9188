"""Whether the user and the pods' service account have the rights that a run needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

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

_KUEUE = "kueue.x-k8s.io"
_TRAINER = "trainer.kubeflow.org"


class Right(NamedTuple):
    """A verb on a kind of resource, or on one object of it where `name` is set."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""

    def __str__(self) -> str:
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {kind}{f'/{self.name}' if self.name else ''}"


OF_PODS = (
    Right("list", "pods"),
    Right("get", "pods/log"),
    Right("list", "events"),
)
"""Rights that `lidr status` and `lidr logs` need where the pipeline's pods are."""

OF_TRAINING = (
    Right("list", "pods"),
    Right("list", "trainjobs", _TRAINER),
    Right("delete", "trainjobs", _TRAINER),
)
"""Rights that `lidr status` and `lidr cancel` need where the TrainJobs are."""

OF_QUEUE = (Right("list", "workloads", _KUEUE),)
"""Rights that `lidr status` needs where pods wait in a queue."""

OF_PIPELINE = (
    Right("create", "workflowtaskresults", "argoproj.io"),
    Right("patch", "workflowtaskresults", "argoproj.io"),
    Right("get", "configmaps", "", "kfp-launcher"),
    Right("get", "secrets", "", "mlpipeline-minio-artifact"),
    Right("list", "workflows", "argoproj.io"),
    Right("list", "pods"),
)
"""Rights that Argo's executor and Kubeflow's driver and launcher need. A run that waits for another
run's lease needs the last two (manifests/base/roles.yaml)."""

OF_LAUNCHER = (
    Right("create", "trainjobs", _TRAINER),
    Right("get", "trainjobs", _TRAINER),
    Right("delete", "trainjobs", _TRAINER),
    Right("get", "trainingruntimes", _TRAINER),
    Right("get", "pods"),
    Right("list", "pods"),
    Right("get", "pods/log"),
)
"""Rights that steps need to run a TrainJob (manifests/base/roles.yaml)."""


def rights_findings(
    inputs: CheckInputs, api: ClusterApi, namespaces: FoundNamespaces
) -> Iterator[Finding]:
    """Yield the rights that the user, and the pods' service account, do not have."""
    pods, training = namespaces.pods, namespaces.training
    jobs = inputs.profile.training.launcher == "trainjob"
    queues = queues_of(requests_of(inputs.recipe, inputs.profile, pods, training))
    own = [(pods, right) for right in OF_PODS]
    own += [(training, right) for right in OF_TRAINING if jobs]
    own += [(namespace, right) for namespace, _ in queues for right in OF_QUEUE]
    yield from _reviewed(
        "your rights",
        own,
        lambda right: api.review("SelfSubjectAccessReview", {"resourceAttributes": right}),
        _role_of_user,
        f"-n {pods} --as=YOUR-NAME",
    )

    account = inputs.profile.service_account
    user = f"system:serviceaccount:{pods}:{account}"
    groups = ("serviceaccounts", f"serviceaccounts:{pods}", "authenticated")
    subject = {"user": user, "groups": [f"system:{group}" for group in groups]}
    steps = [(pods, right) for right in OF_PIPELINE]
    steps += [(training, right) for right in OF_LAUNCHER if jobs]
    yield from _reviewed(
        f"rights of {account}",
        steps,
        lambda right: api.review("SubjectAccessReview", {**subject, "resourceAttributes": right}),
        _roles_of_account,
        f"-n {pods} --as={user}",
    )


def _role_of_user(namespace: str, right: Right) -> str:
    """Return how to get a right; the roles of Kubeflow and Kubernetes lack those on add-ons."""
    ask = f"Ask the owner of namespace {namespace} for the role"
    if right.group == _KUEUE:
        return f"{ask} kueue-batch-user-role."
    if right.group == _TRAINER:
        return f"{ask} kubeflow-edit; some releases of it lack this: then ask for a Role with it."
    return f"{ask} kubeflow-edit, or edit."


def _roles_of_account(namespace: str, right: Right) -> str:
    return f"kubectl apply -k manifests/overlays/NAME; its roles must be in namespace {namespace}"


def _reviewed(
    who: str,
    rights: Sequence[tuple[str, Right]],
    is_allowed: Callable[[Object], bool],
    remedy: Callable[[str, Right], str],
    subject: str,
) -> Iterator[Finding]:
    """Yield each right that is denied, or one finding where none is.

    Args:
        who: begins the findings' names.
        rights: a namespace, and a right in it.
        is_allowed: takes the `resourceAttributes` of an access review.
        remedy: for a denied right in a namespace.
        subject: options of `kubectl auth can-i`, for an administrator who asks instead.
    """
    wanted = list(dict.fromkeys(rights))
    listed = ", ".join(dict.fromkeys(str(right) for _, right in wanted))
    try:
        denied = [each for each in wanted if not is_allowed(_attributes(*each))]
    except Denied:
        detail = f"you may not check them; a run needs: {listed}"
        yield unknown(who, detail, f"An administrator can: kubectl auth can-i VERB KIND {subject}")
        return
    for namespace, right in denied:
        detail = f"may not {right} in namespace {namespace}"
        yield missing(f"{who}: {right}", detail, remedy(namespace, right))
    if not denied:
        yield ok(who, listed)


def _attributes(namespace: str, right: Right) -> Object:
    resource, _, part = right.resource.partition("/")
    place = {"namespace": namespace, "verb": right.verb, "group": right.group, "name": right.name}
    return {**place, "resource": resource, **({"subresource": part} if part else {})}
