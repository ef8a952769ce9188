"""How a rank's failure reaches the user: through files, and through exit codes.

torchrun exits with 1 whatever its workers did, and a container's exit code is all that a
podFailurePolicy sees. So a rank that raises on purpose leaves a record, and `node.py` turns it into
an exit code of its own: 65 and 70 (sysexits.h) trying again does not fix. 143 is a run that
was asked to end and has left a checkpoint.
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
)

FOLDER_VARIABLE = "LIDR_FAILURES"
"""Folder in which ranks leave their records, set by `node.py`."""

FAILED = 1
BAD_INPUT = 65
TRAINING_FAILED = 70
FATAL = (BAD_INPUT, TRAINING_FAILED)
"""Exit codes after which another attempt is pointless; manifests/base/training-runtime.yaml."""

Kind = Literal["bad_input", "store", "training_failed", "launch_failed", "stopped", "failed"]

_CLASSES: dict[Kind, type[LidrError]] = {
    "store": StoreError,
    "bad_input": BadInput,
    "training_failed": TrainingFailed,
    "launch_failed": LaunchFailed,
    "stopped": Stopped,
    "failed": LidrError,
}
"""Kind to class, subclasses before their bases."""

_EXIT_CODES: dict[Kind, int] = {
    "bad_input": BAD_INPUT,
    "training_failed": TRAINING_FAILED,
    "stopped": Stopped.exit_code,
}
"""A store that cannot be reached may be reached later, so `store` is not among them."""


class RecordedFailure(Strict):
    """Why one rank ended."""

    kind: Kind
    """Which exception it becomes."""
    message: str
    """What happened."""
    remedy: str = ""
    """What the user can do."""
    node: int = 0
    """Rank of its node."""
    rank: int = -1
    """Its global rank; -1 for the node as a whole."""
    time: float = 0.0
    """Seconds since 1970: of several, the first is the cause."""
    log: tuple[str, ...] = ()
    """The last lines it printed."""

    @property
    def exit_code(self) -> int:
        """Exit code of the node's container."""
        return _EXIT_CODES.get(self.kind, FAILED)

    @property
    def deliberate(self) -> bool:
        """True where a rank raised; others died, maybe because that one left them alone."""
        return self.kind != "launch_failed"

    def as_error(self) -> LidrError:
        """Return the exception to raise in the launcher."""
        words = "".join(f"\n  {line}" for line in self.log)
        places = [f"rank {self.rank}"] if self.rank > 0 else []
        places += [f"node {self.node}"] if self.node > 0 else []
        where = f" ({', '.join(places)})" if places and self.deliberate else ""
        text = f"{self.message.rstrip('.')}{where}"
        if words and not self.deliberate:
            text = f"{text}; its last words were{words}\n"
        return _CLASSES[self.kind](text, remedy=self.remedy)


def record(error: LidrError) -> None:
    """Leave a record of the exception that ends this rank, where a launcher wants one."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if folder:
        failure = failure_of(error)
        (Path(folder) / f"{failure.rank}.json").write_text(failure.model_dump_json(), "utf-8")


def failure_of(error: LidrError) -> RecordedFailure:
    """Describe an exception of this process; torchrun tells each rank its numbers."""
    return RecordedFailure(
        kind=next(kind for kind, known in _CLASSES.items() if isinstance(error, known)),
        message=error.message,
        remedy=error.remedy,
        node=int(os.environ.get("GROUP_RANK") or os.environ.get("PET_NODE_RANK") or 0),
        rank=int(os.environ.get("RANK", "0")),
        time=time.time(),
    )


def cause(failures: list[RecordedFailure]) -> RecordedFailure:
    """Return the failure that the others follow from: a raised one, then the earliest."""
    return min(failures, key=lambda failure: (not failure.deliberate, failure.time))
