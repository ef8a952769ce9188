"""Whether the pod this process runs in is being cancelled, or taken away by the cluster."""

from __future__ import annotations

import socket

from components.shared.errors import LidrError
from components.train.launchers import pods
from components.train.launchers.cluster import Cluster


def is_disrupted(cluster: Cluster) -> bool:
    """Tell whether SIGTERM came with an eviction, a preemption or a drained node.

    All of them mark the pod with the condition DisruptionTarget first. A pod that cannot be read
    counts as cancelled: its TrainJob would hold GPUs without anybody waiting for it, and loses only
    what it did since its last checkpoint.
    """
    try:
        pod = cluster.pod(socket.gethostname())
    except LidrError:
        return False
    return pod is not None and pods.is_disrupted(pod)
