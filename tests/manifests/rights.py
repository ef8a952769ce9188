"""What a service account may do, read from rendered Roles as the API server would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.manifests.rendering import NAMESPACE, Object, named
from tests.yaml_text import read_yaml

TABLE: dict[str, dict[str, list[str]]] = read_yaml(
    Path(__file__).with_name("rbac.yaml").read_text("utf-8")
)


VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
THINGS = (
    *("pods", "pods/log", "pods/exec", "pods/ephemeralcontainers", "secrets", "configmaps"),
    *("services", "events", "serviceaccounts", "serviceaccounts/token", "persistentvolumeclaims"),
    *("resourcequotas", "limitranges", "namespaces", "nodes"),
    *("deployments.apps", "statefulsets.apps", "daemonsets.apps", "jobs.batch", "cronjobs.batch"),
    *("roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io"),
    *("networkpolicies.networking.k8s.io", "poddisruptionbudgets.policy"),
    *("trainjobs.trainer.kubeflow.org", "trainingruntimes.trainer.kubeflow.org"),
    *("jobsets.jobset.x-k8s.io", "localqueues.kueue.x-k8s.io", "workloads.kueue.x-k8s.io"),
    *("workflows.argoproj.io", "workflowtaskresults.argoproj.io"),
    *("experiments.pipelines.kubeflow.org", "runs.pipelines.kubeflow.org"),
    *("inferenceservices.serving.kserve.io", "externalsecrets.external-secrets.io"),
)
"""What there is in a namespace that somebody could do."""


class Right(NamedTuple):
    """A verb on a resource, of one object where `name` is set."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""

    @classmethod
    def parse(cls, text: str) -> Right:
        """Read `verb resource[/subresource][.group][/name]`."""
        verb, _, thing = text.partition(" ")
        for sub in (each for each in THINGS if "/" in each):
            if thing == sub:
                return cls(verb, sub)
        plain, _, name = thing.partition("/")
        resource, _, group = plain.partition(".")
        return cls(verb, resource, group, name)

    @property
    def text(self) -> str:
        """The words that `parse` reads."""
        group, name = (f".{self.group}" if self.group else ""), f"/{self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{group}{name}"


def granted(objects: tuple[Object, ...], account: str) -> set[Right]:
    """Return every right that Roles give to an account."""
    roles = named(objects, "Role")
    return {
        right
        for binding in named(objects, "RoleBinding").values()
        if any(each["name"] == account for each in binding["subjects"])
        and binding["roleRef"]["kind"] == "Role"
        for rule in roles[binding["roleRef"]["name"]]["rules"]
        for right in _expanded(rule)
    }


def _expanded(rule: Object) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                for name in rule.get("resourceNames", [""]):
                    yield Right(verb, resource, group, name)


def allows(rights: set[Right], asked: Right) -> bool:
    """Decide a request as RBAC does: a right without a name covers all names."""
    return any(
        (right.verb in (asked.verb, "*"))
        and right.resource in (asked.resource, "*")
        and right.group in (asked.group, "*")
        and right.name in ("", asked.name)
        for right in rights
    )


def matrix() -> list[Right]:
    """Return every verb on every kind of thing, of all objects of the kind."""
    return [Right.parse(f"{verb} {thing}") for thing in THINGS for verb in VERBS]


def asked(method: str, path: str) -> Right:
    """Return the right that a request to the API server needs."""
    parts = path.strip("/").split("/")
    group = "" if parts[0] == "api" else parts[1]
    resource, *rest = parts[parts.index("namespaces") + 2 :]
    name = rest[0] if rest else ""
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    verb = verbs.get(method, "get" if name else "list")
    return Right(verb, "/".join([resource, *rest[1:]]), group, name)


def review(account: str, asked: Right, namespace: str = NAMESPACE) -> Object:
    """Return the SubjectAccessReview that asks an API server."""
    resource, _, subresource = asked.resource.partition("/")
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{namespace}:{account}",
            "resourceAttributes": {
                "namespace": namespace,
                "verb": asked.verb,
                "group": asked.group,
                "resource": resource,
                "subresource": subresource,
                "name": asked.name,
            },
        },
    }
