"""What a service account may do, read from rendered Roles as the API server would."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.manifests.rendering import NAMESPACE, Object, named

TABLE: dict[str, dict[str, list[str]]] = yaml.safe_load(
    Path(__file__).with_name("rbac.yaml").read_text("utf-8")
)


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
        for sub in ("pods/log", "pods/exec", "serviceaccounts/token"):
            if thing == sub:
                return cls(verb, sub)
        plain, _, name = thing.partition("/")
        resource, _, group = plain.partition(".")
        return cls(verb, resource, group, name)


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
