"""What is done to a running cluster, and how often of each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

COMPONENTS = {
    "argo": "Argo's controller",
    "kfp": "KFP's API server",
    "mlflow": "MLflow",
    "postgres": "PostgreSQL",
    "store": "the object store",
    "node": "the kubelet",
    "disk": "the store's disk",
}


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        action: `delete` a pod, `kill` what runs in it, `stop` a component, or `lose` a node:
            stop it for longer than its pods tolerate.
        target: the pod's role, or the component.
    """

    @property
    def stops(self) -> bool:
        """Whether a component is away for a while."""
        return self.action in ("stop", "lose")

    action: str
    target: str

    @property
    def words(self) -> str:
        """What is done, as the table has it."""
        if self.target == "disk":
            return "the object store's disk full"
        if self.action == "lose":
            return "a node lost, all of its pods evicted"
        if self.action == "stop":
            return f"{COMPONENTS[self.target]} stopped"
        return f"{self.target} pod {'deleted' if self.action == 'delete' else 'killed'}"


def _kinds(*named: tuple[str, str, int]) -> tuple[Kind, ...]:
    return tuple(Kind(action, target) for action, target, often in named for _ in range(often))


DECK = _kinds(
    ("delete", "executor", 7),
    ("kill", "executor", 7),
    ("delete", "driver", 5),
    ("kill", "driver", 5),
    ("delete", "rank", 5),
    ("kill", "rank", 6),
    ("stop", "argo", 2),
    ("stop", "kfp", 2),
    ("stop", "mlflow", 2),
    ("stop", "postgres", 2),
    ("stop", "store", 2),
    ("stop", "node", 2),
    ("stop", "disk", 2),
    ("lose", "node", 1),
)
"""Fifty faults: pods die more often than servers."""


def shuffled(rng: random.Random, count: int, deck: Sequence[Kind] = DECK) -> list[Kind]:
    """Return so many faults in random order, in the deck's proportions; none of an empty one."""
    if not deck:
        return []
    whole = [kind for _ in range(count // len(deck)) for kind in deck]
    found = whole + rng.sample(deck, count - len(whole))
    rng.shuffle(found)
    return found


LOST = 420.0
"""Seconds for which a lost node is away: Kubernetes calls it not ready after 40 to 50, and evicts
its pods 300 later, which is what DefaultTolerationSeconds has each of them tolerate."""


def duration(kind: Kind, rng: random.Random, longest: float) -> float:
    """Return for how long a component is stopped: half a minute to five, short ones more often."""
    if kind.action == "lose":
        return LOST
    return 30.0 * (max(longest, 30.0) / 30.0) ** rng.random()
