"""How a rank's failure reaches the user: through files, and through exit codes.

torchrun exits with 1 for every failure, and a podFailurePolicy sees only the container's exit code.
So a rank that raises a LidrError writes a record, which `node.py` turns into an exit code: 65 and
70 (as in sysexits.h) are failures that a retry cannot fix; 143 is a run that was asked to stop and
whose ranks have all written a checkpoint.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.core.errors import (
    BadInput,
    LaunchFailed,
    LidrError,
    Stopped,
    StoreError,
    TrainingFailed,
    Unavailable,
)

FOLDER_VARIABLE = "LIDR_FAILURES"
"""Environment variable with the folder for the ranks' records, set by `node.py`."""

FAILED = 1
BAD_INPUT = 65
TRAINING_FAILED = 70
FATAL = (BAD_INPUT, TRAINING_FAILED)
"""Exit codes that are not retried; manifests/base/training-runtime.yaml lists them, too."""

FailureKind = Literal[
    "bad_input", "store", "unavailable", "training_failed", "launch_failed", "stopped", "failed"
]

_CLASSES: dict[FailureKind, type[LidrError]] = {
    "store": StoreError,
    "unavailable": Unavailable,
    "bad_input": BadInput,
    "training_failed": TrainingFailed,
    "launch_failed": LaunchFailed,
    "stopped": Stopped,
    "failed": LidrError,
}
"""The exception class of each kind, subclasses before their bases."""

KILLED, DIED, LOST, ENDED = range(4)
"""Orders of failures: a rank that something outside killed, one that died of itself, one that lost
another rank, and one that torchrun ended after another's death. The lowest is the cause."""

_EXIT_CODES: dict[FailureKind, int] = {
    "bad_input": BAD_INPUT,
    "training_failed": TRAINING_FAILED,
    "stopped": Stopped.exit_code,
}
"""Without `store` and `unavailable`, though both are BadInput: what is away may come back."""


class RecordedFailure(Strict):
    """Why one rank failed."""

    kind: FailureKind
    """Kind of exception, which the launcher raises again."""
    message: str
    """What happened."""
    remedy: str = ""
    """What the user can do."""
    node: int = 0
    """Rank of its node."""
    rank: int = -1
    """Its global rank; -1 for the node as a whole."""
    time: float = 0.0
    """Seconds since 1970."""
    order: int = 0
    """KILLED, DIED, LOST or ENDED for `launch_failed`; 0 for the other kinds."""
    log: tuple[str, ...] = ()
    """The last lines that the rank printed."""

    @property
    def exit_code(self) -> int:
        """Exit code of the node's container."""
        return _EXIT_CODES.get(self.kind, FAILED)

    @property
    def deliberate(self) -> bool:
        """Whether the rank raised an error of its own; one that died may have lost another rank."""
        return self.kind != "launch_failed"

    def as_error(self) -> LidrError:
        """Return the exception to raise in the launcher."""
        tail = "".join(f"\n  {line}" for line in self.log)
        places = [f"rank {self.rank}"] if self.rank > 0 else []
        places += [f"node {self.node}"] if self.node > 0 else []
        where = f" ({', '.join(places)})" if places and self.deliberate else ""
        text = f"{self.message.rstrip('.')}{where}"
        if tail and not self.deliberate:
            text = f"{text}; its last output was{tail}\n"
        return _CLASSES[self.kind](text, remedy=self.remedy)


def record_failure(error: LidrError) -> None:
    """Write a record of the exception that ends this rank, if `LIDR_FAILURES` names a folder."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        failure = failure_of(error)
        (Path(folder) / f"{failure.rank}.json").write_text(failure.model_dump_json(), "utf-8")


def failure_of(error: LidrError) -> RecordedFailure:
    """Return the record of an exception in this process, with the ranks that torchrun has set."""
    return RecordedFailure(
        kind=next(kind for kind, known in _CLASSES.items() if isinstance(error, known)),
        message=error.message,
        remedy=error.remedy,
        node=int(os.environ.get("GROUP_RANK") or os.environ.get("PET_NODE_RANK") or 0),
        rank=int(os.environ.get("RANK", "0")),
        time=time.time(),
        order=LOST if isinstance(error, LaunchFailed) else 0,
    )


def root_cause(failures: list[RecordedFailure]) -> RecordedFailure:
    """Return the failure that caused the others: the first raised, else the first by `order`."""
    return min(failures, key=lambda each: (not each.deliberate, each.order, each.time))
