"""Why a probe's pod does not start or end, and what to do about it."""

from __future__ import annotations

import re

from lidr.pipelines.checks.finding import Finding, missing
from lidr.pipelines.checks.inside.jobs import Probe

_FINAL = re.compile(
    r"InvalidImageName|CreateContainerConfigError(?!.*failed to sync)|ErrImageNeverPull"
    r"|ImagePullBackOff.*(not found|denied|unauthorized|forbidden|manifest unknown)",
    re.IGNORECASE | re.DOTALL,
)
"""Reasons of a waiting container that do not pass by themselves. Left out are a busy registry and
a kubelet that has not read the Secret in time ("failed to sync secret cache")."""
_SYSTEM_TAINT = re.compile(r"untolerated taint \{node(-role)?\.kubernetes\.io/[^}]*\}")
"""A taint of Kubernetes' own, as on its control plane or a node that is not ready."""

ROLE = "Role lidr-check (manifests/base/roles.yaml) has the rights; ask for a RoleBinding."
_POLICY = "Meet the cluster's policy, or ask its administrator for an exception."
_NO_ROOM = "Free nodes of the pool, or let it grow; `lidr check` compares it with the nodes."
_TAINT = "Add the taint to tolerations of the pool in the profile."
PROFILE = "Correct the profile: see the message."
_REMEDIES = {
    "ImagePull": "Correct images in the profile, or let the nodes log in to the registry.",
    "ErrImageNeverPull": "Bring the image to the nodes, or correct images in the profile.",
    "InvalidImageName": "Correct images in the profile.",
    "runAsNonRoot": "Take an image whose user is not root, as lidr's are.",
    "failed to sync": "Raise --timeout: the node had not read the Secret or ConfigMap yet.",
    "CreateContainerConfigError": "Create the Secret or ConfigMap, or correct its name and keys in "
    "the profile.",
    "too little": _NO_ROOM,
    "untolerated taint": _TAINT,
    "node affinity/selector": "Correct node_selector of the pool in the profile; "
    "`kubectl get nodes --show-labels` shows what nodes have.",
    "quota": "Raise the ResourceQuota, or the ClusterQueue's; `lidr check` compares them.",
    "queue": "Raise the queue's quota, wait, or name another queue in the profile.",
    "denied the request": _POLICY,  # an admission webhook: Kyverno, Gatekeeper
    "denied request": _POLICY,  # a ValidatingAdmissionPolicy
    "violates PodSecurity": _POLICY,
    "is being terminated": "Create the namespace again once it is gone, or name another in the "
    "profile.",
    "service account": "Apply the overlay (manifests/README.md), or correct service_account.",
}


def is_final(why: str) -> bool:
    """Return whether a container waits for a reason that does not pass by itself."""
    return _FINAL.search(why) is not None


def again(probe: Probe) -> str:
    """Return the remedy for a pod that was ended from outside."""
    return f"Run the check again; kubectl get events -n {probe.namespace} shows what happened."


def longer(probe: Probe) -> str:
    """Return the remedy for a pod that needs more time."""
    return f"Raise --timeout; kubectl get events -n {probe.namespace} shows what happened."


def failed(probe: Probe, why: str, remedy: str = "", *, otherwise: str = "") -> Finding:
    """Return the finding that a pod did not start, or did not end well.

    Args:
        probe: the pod's.
        why: the cause.
        remedy: "" for the one that `_REMEDIES` has for the cause.
        otherwise: remedy if no key of `_REMEDIES` is in the cause; "" for running the check again.
    """
    cause = _SYSTEM_TAINT.sub("", why)
    known = [text for each, text in _REMEDIES.items() if each in cause]
    if known[:2] == [_NO_ROOM, _TAINT]:  # CPU nodes lack GPUs: the taint may be why
        known = [f"{_NO_ROOM} Or: {_TAINT}"]
    known.append(otherwise or again(probe))
    return missing("starts", why, remedy or known[0])
