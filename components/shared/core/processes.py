"""Ending every process of a run, also those that moved into a session of their own.

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

_ROUNDS = 50
_GRACE = 3.0


def marked(variable: str, value: str) -> list[int]:
    """Return the ids of the processes, but this one, that were started with `variable=value`.

    Without /proc (macOS) there are none to be found, and the process group has to do.
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
    """Kill those processes, until no new one appears."""
    for _ in range(_ROUNDS):
        found = marked(variable, value)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def end_group(leader: subprocess.Popen[bytes]) -> None:
    """End a child's process group: by SIGTERM, then by SIGKILL.

    Args:
        leader: a child that was started with a session of its own.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while time.monotonic() < end:
            leader.poll()  # a child that nobody asked after stays in its group
            os.killpg(leader.pid, 0)
            time.sleep(0.02)
        os.killpg(leader.pid, signal.SIGKILL)
