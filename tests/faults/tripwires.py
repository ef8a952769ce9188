"""Moments at which a process of the loop kills itself: before, inside and after what it writes.

A moment is a line `<phase> <operation> <key>`, e.g. `inside create stages/generate/…/00001.parquet`
or `before task train`. `inside` is the moment at which all bytes lie in a temporary file that has
not got its name yet. A trace of an undisturbed run lists the moments there are.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

from lidr.components.shared.store import local as local_store
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.s3 import S3Store

_OPERATIONS = ("write", "create", "upload", "delete")


@dataclass
class _Wires:
    trace: Path | None = None
    fatal: Collection[str] = ()
    victim: str = "all"
    inside: str = ""


_wires = _Wires()


def lay(trace: Path, fatal: Collection[str], victim: str) -> None:
    """Note every moment of this process and its forks, and die at the first of the fatal ones.

    Args:
        trace: file that gets a line a moment.
        fatal: moments.
        victim: `task` for the process that meets it, `all` for every process of the run, as when
            a machine is lost.
    """
    _wires.trace, _wires.fatal, _wires.victim = trace, fatal, victim
    for kind in (LocalStore, S3Store):
        for operation in _OPERATIONS:
            _watch(kind, operation)
    flush = local_store._flush

    def watched_flush(path: Path) -> None:
        flush(path)
        pass_by("inside", _wires.inside)

    local_store._flush = watched_flush


def pass_by(phase: str, what: str) -> None:
    """Tell that a moment has come."""
    moment = f"{phase} {what}"
    with open(_wires.trace, "ab", buffering=0) as trace:
        trace.write(f"{moment}\n".encode())
        if moment in _wires.fatal:
            trace.write(f"killed {moment}\n".encode())
    if moment in _wires.fatal:
        kill = os.killpg if _wires.victim == "all" else os.kill
        kill(os.getpgid(0) if _wires.victim == "all" else os.getpid(), signal.SIGKILL)


def _watch(kind: type, operation: str) -> None:
    function = getattr(kind, operation)

    @wraps(function)
    def watched(self, *arguments):
        key = arguments[1] if operation == "upload" else arguments[0]
        what = f"{operation} {key}"
        pass_by("before", what)
        _wires.inside = what
        result = function(self, *arguments)
        pass_by("after", what)
        return result

    setattr(kind, operation, watched)
