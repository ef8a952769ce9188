"""A train step that kills itself (SIGKILL) at its nth upload: `python -m ... N ARGUMENTS.json`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from lidr.components.shared.store.local import LocalStore
from lidr.components.train.run import train

if __name__ == "__main__":
    left = int(sys.argv[1])
    upload = LocalStore.upload

    def dying_upload(self: LocalStore, path: Path, key: str) -> None:
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        upload(self, path, key)

    LocalStore.upload = dying_upload  # type: ignore[method-assign]
    train(**json.loads(sys.argv[2]))
