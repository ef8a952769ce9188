"""Refuses, before a run starts, a profile that the cluster would refuse later."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lidr.components.shared.config.pools import KINDS, NodeAffinity, Pool, Toleration
from lidr.components.shared.config.profile import Profile
from lidr.components.shared.core.errors import BadInput

_OBJECT = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
"""Names of Secrets, ConfigMaps and service accounts (RFC 1123 subdomains)."""

_NUMBER = re.compile(r"-?\d+")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_LABEL = re.compile(
    r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?"
)


def require_acceptable(profile: Profile) -> None:
    """Refuse a cluster profile that the Kubernetes API would refuse.

    Raises:
        BadInput: with the first problem.
    """
    for wrong in _problems(profile) if profile.runner == "kubeflow" else ():
        raise BadInput(f"profile {profile.name!r}: {wrong}", remedy="Correct the profile.")


def _problems(profile: Profile) -> Iterator[str]:
    names = {"config_maps": profile.config_maps, "secrets": profile.secrets}
    for key, given in {**names, "service_account": [profile.service_account]}.items():
        yield from (f"{key}: {name!r} is not a valid name" for name in given if _not(_OBJECT, name))
    yield from (f"pod_labels: {wrong}" for wrong in _no_labels(profile.pod_labels))
    for key in profile.pod_annotations:
        if _not(_LABEL, key):
            yield f"pod_annotations: {key!r} is no key"
    for name, pool in profile.pools.items():
        yield from (f"pools.{name}.{wrong}" for wrong in _misplaced(pool))
    for kind in KINDS:
        yield from (f"steps.{kind}.{wrong}" for wrong in _misplaced(profile.steps.configured(kind)))


def _misplaced(place: Pool) -> Iterator[str]:
    yield from (f"node_selector: {wrong}" for wrong in _no_labels(place.node_selector))
    yield from (f"affinity: {wrong}" for term in place.affinity for wrong in _unmatched(term))
    if _not(_LABEL, place.accelerator_type) or "/" not in place.accelerator_type:
        yield f"accelerator_type: {place.accelerator_type!r} is no extended resource"
    yield from (f"tolerations: {wrong}" for each in place.tolerations if (wrong := _refused(each)))


def _no_labels(given: Mapping[str, str]) -> Iterator[str]:
    for label, value in given.items():
        if _not(_LABEL, label) or _not(_VALUE, value):
            yield f"{label}={value} is no label"


def _unmatched(term: NodeAffinity) -> Iterator[str]:
    for needed in term.match:
        for value in needed.values or ("",):
            yield from _no_labels({needed.key: value})
        if needed.operator in ("Gt", "Lt") and _not(_NUMBER, needed.values[0]):
            yield f"operator {needed.operator} needs a whole number, not {needed.values[0]!r}"


def _refused(toleration: Toleration) -> str:
    if toleration.operator == "Exists" and toleration.value:
        return f"operator Exists takes no value ({toleration.value!r})"
    if toleration.operator == "Equal" and not toleration.key:
        return "operator Equal needs a key"
    return ""


def _not(pattern: re.Pattern[str], text: str) -> bool:
    return not pattern.fullmatch(text)
