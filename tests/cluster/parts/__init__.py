"""What a user does with a cluster, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby

from tests.cluster.cluster import Cluster
from tests.cluster.parts.alerts import alerts
from tests.cluster.parts.budget import budget
from tests.cluster.parts.champion import champion, promotion
from tests.cluster.parts.faults import faults
from tests.cluster.parts.following import cancel, logs, schedule, status
from tests.cluster.parts.inside import inside
from tests.cluster.parts.install import install
from tests.cluster.parts.notices import notices
from tests.cluster.parts.overhead import overhead
from tests.cluster.parts.policies import policies
from tests.cluster.parts.prune import prune
from tests.cluster.parts.queueing import queue
from tests.cluster.parts.reward import reward
from tests.cluster.parts.rights import rights
from tests.cluster.parts.size import size
from tests.cluster.parts.submitting import check, equal, submit
from tests.cluster.parts.upgrade import upgrade
from tests.cluster.renewal import renew

PARTS: dict[str, Callable[[Cluster], str]] = {
    "install": install,
    "check": check,
    "inside": inside,
    "rights": rights,
    "policies": policies,
    "submit": submit,
    "cancel": cancel,
    "schedule": schedule,
    "size": size,
    "queue": queue,
    "reward": reward,
    "budget": budget,
    "notices": notices,
    "record": renew,
    "equal": equal,
    "status": status,
    "logs": logs,
    "overhead": overhead,
    "promotion": promotion,
    "champion": champion,
    "prune": prune,
    "alerts": alerts,
    "upgrade": upgrade,
    "faults": faults,
}
"""In the order in which they run: a later one may use what an earlier one has left.

`record` runs where it is asked for, by name or by --record.
"""

BESIDE = frozenset({"cancel", "schedule", "size", "queue", "reward", "budget", "notices", "record"})
"""Parts that run beside their neighbours: each has a run of its own, which waits for Kubeflow most
of the time, and none touches what the others need."""


def groups(parts: Iterable[str], *, crowded: bool = False) -> list[list[str]]:
    """Return the parts in order, those together that run beside one another.

    Args:
        parts: in order.
        crowded: whether `submit`, whose run `overhead` measures, is beside the others as well.
    """
    every = BESIDE | {"submit"} if crowded else BESIDE
    return [
        group
        for beside, found in groupby(parts, every.__contains__)
        for group in ([list(found)] if beside else [[part] for part in found])
    ]
