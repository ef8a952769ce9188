"""Forks itself for each process that stands for one (see `__init__`).

Usage: python -m tests.warm.server LISTENER PROGRAM MODULE
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import marshal
import multiprocessing
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import tempfile
import types
import warnings
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn, cast

from lidr.components.shared.core import events
from tests.kfp_forks import end_fork
from tests.warm import KEEP

_MAX_FILES = 250
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET


def main(listener: socket.socket, program: str) -> None:
    """Serve until nobody keeps this up."""
    forks: dict[int, socket.socket] = {}
    keepers = 0
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.collect()
    gc.freeze()  # forks share these pages for longer
    gc.set_threshold(10_000)
    with selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(ended, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                if key.fileobj is listener:
                    connection = listener.accept()[0]
                    pid = _fork(connection, program)
                    keepers += not pid
                    if pid:
                        forks[pid] = connection
                    ready.register(connection, selectors.EVENT_READ, pid)
                elif key.fileobj == ended:
                    os.read(ended, 1 << 10)
                    for pid, status in _reaped():
                        connection = forks.pop(pid)
                        with contextlib.suppress(OSError):
                            connection.sendall(
                                os.waitstatus_to_exitcode(status).to_bytes(8, signed=True)
                            )
                        ready.unregister(connection)
                        connection.close()
                elif key.data in forks:
                    _hand_on(forks[key.data], key.data)
                elif key.data == 0:
                    ready.unregister(key.fileobj)
                    keepers -= 1
            if not keepers and not forks:
                return


def _fork(connection: socket.socket, program: str) -> int:
    """Return the id of a fork that becomes what a connection asks for; 0 for one that keeps."""
    head, files, _, _ = socket.recv_fds(connection, len(KEEP), _MAX_FILES)
    if head == KEEP:
        return 0
    order = b""
    while len(order) < int.from_bytes(head):
        block = connection.recv(1 << 20)
        if not block:
            break
        order += block
    pid = os.fork()
    if not pid:
        _become(files, program, order)
    for number in files:
        os.close(number)
    return pid


def _reaped() -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    try:
        while (each := os.waitpid(-1, os.WNOHANG))[0]:
            found.append(each)
    except ChildProcessError:
        pass
    return found


def _hand_on(connection: socket.socket, pid: int) -> None:
    """Send a fork the signals that its stand-in got; kill it and its group with it."""
    numbers = b""
    with contextlib.suppress(ConnectionError):
        numbers = connection.recv(1 << 10)
    with contextlib.suppress(ProcessLookupError):
        for number in numbers:
            os.kill(pid, number)
        if not numbers:
            os.killpg(pid, signal.SIGKILL)


def _become(received: list[int], program: str, order: bytes) -> NoReturn:
    """Do what `python -m` or `python -c` does, and end.

    Args:
        received: the stand-in's network namespace and its open files.
        program: its path.
        order: what `stand_in.main` sends.
    """
    code = 1
    try:
        asked, unbuffered, files, ignored, folder, environment = marshal.loads(order)
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        _enter(received[0])
        _take(received[1:], files)
        os.environb.clear()
        os.environb.update(environment)
        os.chdir(folder)
        tempfile.tempdir = None
        events._context.set(json.loads(os.environ.get(events._CONTEXT_VARIABLE, "{}")))
        sys.executable = program
        multiprocessing.set_executable(program)
        paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.path[:0] = [folder, *paths]
        if unbuffered or os.environ.get("PYTHONUNBUFFERED"):
            for stream in (sys.stdout, sys.stderr):
                cast(TextIOWrapper, stream).reconfigure(write_through=True)
        _run(asked)
        code = 0
    except SystemExit as ending:
        code = _status(ending)
    except KeyboardInterrupt:
        sys.excepthook(*sys.exc_info())
        code = -signal.SIGINT
    except BaseException:
        sys.excepthook(*sys.exc_info())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return end_fork(code)


def _enter(network: int) -> None:
    """Enter a network namespace."""
    if os.path.sameopenfile(network, os.open("/proc/self/ns/net", os.O_RDONLY)):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, _NEW_NETWORK):
        raise OSError(ctypes.get_errno(), "setns")


def _take(received: list[int], numbers: list[int]) -> None:
    """Have open under the numbers what was received, and nothing else."""
    above = max([*received, *numbers]) + 1
    moved = [fcntl.fcntl(each, fcntl.F_DUPFD, above) for each in received]
    os.closerange(0, above)
    for each, number in zip(moved, numbers, strict=True):
        os.dup2(each, number)
        os.close(each)
    os.closerange(above, 1 << 12)


def _run(asked: list[str]) -> None:
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    flag, name, *arguments = asked
    sys.argv = [flag, *arguments]
    if flag == "-c":
        sys.path[0] = ""
        exec(compile(name, "<string>", "exec"), main.__dict__)
        return
    warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning, "runpy")
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def _status(ending: SystemExit) -> int:
    if isinstance(ending.code, int | None):
        return (ending.code or 0) & 0xFF
    print(ending.code, file=sys.stderr)
    return 1


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listening:
        importlib.import_module(sys.argv[3])
        main(listening, sys.argv[2])
    shutil.rmtree(Path(sys.argv[2]).parent, ignore_errors=True)
