"""What a user does with a cluster, part by part."""

from __future__ import annotations

from collections.abc import Callable

from tests.cluster.cluster import Cluster
from tests.cluster.parts.champion import champion, promotion
from tests.cluster.parts.faults import faults
from tests.cluster.parts.following import cancel, logs, schedule, status
from tests.cluster.parts.install import install
from tests.cluster.parts.overhead import overhead
from tests.cluster.parts.policies import policies
from tests.cluster.parts.queueing import queue
from tests.cluster.parts.rights import rights
from tests.cluster.parts.size import size
from tests.cluster.parts.submitting import check, equal, submit
from tests.cluster.parts.upgrade import upgrade

PARTS: dict[str, Callable[[Cluster], str]] = {
    "install": install,
    "check": check,
    "rights": rights,
    "policies": policies,
    "submit": submit,
    "equal": equal,
    "status": status,
    "logs": logs,
    "overhead": overhead,
    "cancel": cancel,
    "schedule": schedule,
    "queue": queue,
    "promotion": promotion,
    "champion": champion,
    "upgrade": upgrade,
    "size": size,
    "faults": faults,
}
"""In the order in which they run: a later one may use what an earlier one has left."""
