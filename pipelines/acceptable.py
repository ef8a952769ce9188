"""Refuses, before a run starts, a profile that the cluster would refuse later."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lidr.components.shared.config.pools import KINDS, NodeAffinity, Pool, Toleration
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput

_SUBDOMAIN = r"(?=.{1,253}(?:/|$))[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
"""RFC 1123: parts of letters, digits and hyphens, joined by dots."""

_NAME = re.compile(_SUBDOMAIN)
"""Names of Secrets and ConfigMaps."""

_KEY = re.compile(rf"({_SUBDOMAIN}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{{0,61}}[A-Za-z0-9])?")
"""Keys of labels, annotations and taints, with a prefix or without."""

_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_WHOLE_NUMBER = re.compile(r"-?[0-9]+")


def require_acceptable(profile: Profile) -> None:
    """Refuse a cluster profile that the Kubernetes API would refuse.

    Raises:
        BadInput: with the first problem.
    """
    if profile.runner == "kubeflow" and (problem := next(_problems(profile), "")):
        raise BadInput(
            f"profile {profile.name!r}: {problem}",
            remedy="Correct it in the profile, by Kubernetes' rules.",
        )


def _problems(profile: Profile) -> Iterator[str]:
    names = {"config_maps": profile.config_maps, "secrets": profile.secrets}
    for key, given in names.items():
        for name in given:
            if not _NAME.fullmatch(name):
                yield f"{key}: {name!r} is not a valid name"
    yield from (f"pod_labels: {each}" for each in _label_problems(profile.pod_labels))
    for key in profile.pod_annotations:
        if not _KEY.fullmatch(key):
            yield f"pod_annotations: {key!r} is not a valid annotation key"
    for name, pool in profile.pools.items():
        yield from (f"pools.{name}.{each}" for each in _pool_problems(pool))
    for kind in KINDS:
        own = profile.steps.configured(kind)
        yield from (f"steps.{kind}.{each}" for each in _pool_problems(own))


def _pool_problems(pool: Pool) -> Iterator[str]:
    yield from (f"node_selector: {each}" for each in _label_problems(pool.node_selector))
    for term in pool.affinity:
        yield from (f"affinity: {each}" for each in _affinity_problems(term))
    resource = pool.accelerator_type
    if "/" not in resource or not _KEY.fullmatch(resource):
        yield f"accelerator_type: {resource!r} is not an extended resource, e.g. nvidia.com/gpu"
    for toleration in pool.tolerations:
        yield from (f"tolerations: {each}" for each in _toleration_problems(toleration))


def _label_problems(labels: Mapping[str, str]) -> Iterator[str]:
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            yield f"{key}={value} is not a valid label"


def _affinity_problems(term: NodeAffinity) -> Iterator[str]:
    for needed in term.match:
        for value in needed.values or ("",):
            yield from _label_problems({needed.key: value})
        if needed.operator in ("Gt", "Lt") and not _WHOLE_NUMBER.fullmatch(needed.values[0]):
            yield f"operator {needed.operator} needs a whole number, not {needed.values[0]!r}"


def _toleration_problems(toleration: Toleration) -> Iterator[str]:
    if toleration.operator == "Exists" and toleration.value:
        yield f"operator Exists takes no value ({toleration.value!r})"
    if toleration.operator == "Equal" and not toleration.key:
        yield "operator Equal needs a key"
    if toleration.key and not _KEY.fullmatch(toleration.key):
        yield f"{toleration.key!r} is not a valid taint key"
    if not _VALUE.fullmatch(toleration.value):
        yield f"{toleration.value!r} is not a valid taint value"
