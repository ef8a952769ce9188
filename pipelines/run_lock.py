"""The lock of a run that `lidr run` executes: a file that names the process.

The kernel releases it when the process ends. On a shared file system other machines see it as well,
so the file also names the machine: a process's id is valid there only.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import one_line
from lidr.components.shared.run_lease import machine_id

_TIMEOUT_SECONDS = 0.2
"""How long an execution waits for its lock, which `lidr status` and others hold for an instant."""


@dataclass(frozen=True)
class LockOwner:
    """The process that holds a run's lock.

    Attributes:
        process: its id; 0 if it has not written it yet.
        machine: `machine_id()` there; "" if unknown.
        host: name of its host.
    """

    process: int = 0
    machine: str = ""
    host: str = ""

    @property
    def elsewhere(self) -> bool:
        """Whether the process is on another machine, or in another container of this one."""
        return bool(self.machine) and self.machine != machine_id()

    def __str__(self) -> str:
        words = f"process {self.process}" if self.process else "another process"
        return f"{words} on {self.host}" if self.elsewhere and self.host else words


def lock_owner(folder: Path) -> LockOwner | None:
    """Return who holds the lock of the run with this folder; None for nobody."""
    with suppress(FileNotFoundError), _lock(folder).open("r", errors="replace") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _parse(handle.read())
    return None


@contextmanager
def locked(folder: Path, run: str) -> Iterator[None]:
    """Hold a run's lock.

    Args:
        folder: of the run on this machine; made if it is missing.
        run: its name.

    Raises:
        BadInput: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder).open("a+") as lock:
        if not _acquire(lock):
            lock.seek(0)
            owner = _parse(lock.read())
            raise BadInput(
                f"run {run!r} is already being executed by {owner}",
                remedy="Wait for it, stop it, or choose another --run.",
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n{machine_id()}\n{socket.gethostname()}\n")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)  # the id may soon be another process's


def _lock(folder: Path) -> Path:
    return folder / "lock"


def _parse(text: str) -> LockOwner:
    process, machine, host = (*text.split("\n"), "", "", "")[:3]
    known = int(process) if process.isascii() and process.isdecimal() else 0
    return LockOwner(known, machine, one_line(host))


def _acquire(lock: TextIO) -> bool:
    """Lock a file for this process alone; return False if another one keeps it."""
    until = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(_TIMEOUT_SECONDS / 20)
        else:
            return True
