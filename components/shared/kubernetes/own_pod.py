"""What the pod this process runs in says: which KFP run it is of, and why it is asked to end."""

from __future__ import annotations

import os
import socket
from typing import Any

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.runs import RUN_LABEL
from lidr.components.shared.kubernetes.trainjobs import Cluster

_NAME_VARIABLE = "KFP_POD_NAME"
"""Kubernetes cuts a host's name after 63 characters; those of Kubeflow's pods are often longer."""


def own_run(cluster: Cluster) -> str:
    """Return the id of the KFP run that this pod is of; "" where none is known."""
    pod = _own(cluster) or {"metadata": {}}
    return str(pod["metadata"].get("labels", {}).get(RUN_LABEL, ""))


def is_disrupted(cluster: Cluster) -> bool:
    """Return whether SIGTERM came with an eviction, a preemption or a drained node.

    All of them mark the pod with the condition DisruptionTarget first. A pod that cannot be read
    counts as cancelled: its TrainJob would hold GPUs without anybody waiting for it, and loses only
    what it did since its last checkpoint.
    """
    pod = _own(cluster)
    return pod is not None and pods.is_disrupted(pod)


def _own(cluster: Cluster) -> dict[str, Any] | None:
    try:
        return cluster.pod(os.environ.get(_NAME_VARIABLE) or socket.gethostname())
    except LidrError:
        return None
