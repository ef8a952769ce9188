"""The trainer's `main`, in which one rank ends as told; `programs.run_ranks` runs it.

ENDING says how: `kill N` (SIGKILL at rank 1's nth upload), `term N` (SIGTERM to rank 1 before its
nth step).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from lidr.components.shared.store.local import LocalStore
from lidr.components.train import trainer
from lidr.components.train.distributed.ranks import exit_without_cleanup

_left = 0


def main(arguments: list[str]) -> int:
    """Train, and end as told; return the exit code."""
    global _left
    manner, number = os.environ["ENDING"].split()
    _left = int(number)

    def countdown(ending: signal.Signals) -> None:
        global _left
        _left -= 1
        if _left == 0:
            print(f"rank 1 gets {ending.name}", flush=True)
            os.kill(os.getpid(), ending)

    if os.environ["RANK"] == "1" and manner == "kill":
        upload = LocalStore.upload

        def dying_upload(self: LocalStore, path: Path, key: str) -> None:
            countdown(signal.SIGKILL)
            upload(self, path, key)

        LocalStore.upload = dying_upload  # type: ignore[method-assign]
    if os.environ["RANK"] == "1" and manner == "term":
        from lidr.components.train.preference import PreferenceTrainer

        step = PreferenceTrainer.training_step

        def asked_step(self, *arguments, **named):
            countdown(signal.SIGTERM)
            return step(self, *arguments, **named)

        PreferenceTrainer.training_step = asked_step
    return trainer.main(arguments)


if __name__ == "__main__":
    exit_without_cleanup(main(sys.argv[1:]))
