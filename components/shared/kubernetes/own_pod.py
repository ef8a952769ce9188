"""The pod that this process runs in: its KFP run, and whether the cluster is evicting it."""

from __future__ import annotations

import os
import socket
from typing import Any

from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.kubernetes import pods
from lidr.components.shared.kubernetes.runs import RUN_LABEL
from lidr.components.shared.kubernetes.trainjobs import Cluster

_NAME_VARIABLE = "KFP_POD_NAME"
"""Environment variable with this pod's name.

Kubernetes cuts a host's name after 63 characters; the names of Kubeflow's pods are often longer.
"""


def own_run(cluster: Cluster) -> str:
    """Return the id of this pod's KFP run; "" if it is unknown."""
    pod = _own(cluster) or {"metadata": {}}
    return str(pod["metadata"].get("labels", {}).get(RUN_LABEL, ""))


def is_disrupted(cluster: Cluster) -> bool:
    """Return whether SIGTERM came with an eviction, a preemption or a drained node.

    All of them first set the pod's condition DisruptionTarget. A pod that cannot be read counts as
    cancelled: otherwise its TrainJob would hold GPUs with nobody waiting for it. Deleting that
    TrainJob loses only the work since its last checkpoint.
    """
    pod = _own(cluster)
    return pod is not None and pods.is_disrupted(pod)


def _own(cluster: Cluster) -> dict[str, Any] | None:
    try:
        return cluster.pod(os.environ.get(_NAME_VARIABLE) or socket.gethostname())
    except LidrError:
        return None
