"""Ends every process of a run, including those that moved into another session.

Children inherit their parent's environment, so a variable that only one run sets finds them all:
torchrun's workers and vLLM's engine cores leave the process group, but not the environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

_MAX_ROUNDS = 50
_GRACE_SECONDS = 3.0


def marked_pids(variable: str, value: str) -> list[int]:
    """Return the ids of all other processes that were started with `variable=value`.

    Without /proc (macOS) none are found; only the process group can be ended there.
    """
    entry = f"{variable}={value}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            if entry in environment and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def kill_marked(variable: str, value: str) -> None:
    """Kill the processes of `marked_pids` until none is left, for about a second at most."""
    for _ in range(_MAX_ROUNDS):
        found = marked_pids(variable, value)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def end_group(leader: subprocess.Popen[bytes]) -> None:
    """End the group of a child that leads one (`start_new_session`): by SIGTERM, then SIGKILL."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, signal.SIGTERM)
        end = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < end:
            leader.poll()  # reaps it: a zombie stays in its group
            os.killpg(leader.pid, 0)
            time.sleep(0.02)
        os.killpg(leader.pid, signal.SIGKILL)
