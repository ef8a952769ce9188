"""A Python whose start is a fork of a process that has imported what takes long.

`python()` is the path of a program that takes what `python -m MODULE` and `python -c CODE` take. It
asks a server, one for all workers of a run of the tests, for a fork, and stands for it: it hands on
its folder, environment, open files, network and signals, and ends as the fork ends. The fork
leads a session of its own, and dies with its stand-in. Its `sys.executable` is this program, too,
so what it starts is as quick. Whatever else `python` is asked for is done by a real one.

Use it where the start of a process is not the thing under test. What a module read from the
environment when it was imported (HF_HOME, OMP_NUM_THREADS) is the server's, not the caller's.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IMPORTS = "tests.warm.imports"
VLLM = "tests.warm.vllm_imports"
RUN = "LIDR_WARM_RUN"
"""Environment variable with the process that first asked: what it starts shares its servers."""
REAL = sys.executable
"""In a fork, too: it has this module from its server."""
NETWORK = "/proc/self/ns/net"
KEEP = b"keep"
"""What a connection sends that only keeps the server up; others send four bytes of a length."""

_PROGRAM = """#!/bin/sh
exec '{real}' -IS '{stand_in}' '{real}' '{address}' "$@"
"""


@cache
def python(imports: str = IMPORTS, path: str = "") -> str:
    """Return the program's path; start its server, which ends with the last caller's process.

    Where coverage is measured, which traces programs alone, or where there is no Linux, or nothing
    in the folder of temporary files can be run, it is the path of a real Python.

    Args:
        imports: the module that imports what takes long.
        path: PYTHONPATH of the server, and so of what is imported in it.
    """
    if "COVERAGE_PROCESS_CONFIG" in os.environ or not Path(NETWORK).exists():
        return REAL
    run = os.environ.setdefault(RUN, str(os.getpid()))
    which = hashlib.sha256(f"{imports} {path}".encode()).hexdigest()[:8]
    name = f"lidr-warm-{os.getuid()}-{run}-{which}"
    folder = Path(tempfile.gettempdir()) / name
    folder.mkdir(mode=0o700, exist_ok=True)
    address, program = str(folder / "socket"), folder / "python"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            stand_in = Path(__file__).with_name("stand_in.py")
            program.write_text(_PROGRAM.format(real=REAL, stand_in=stand_in, address=address))
            program.chmod(0o700)
        if not os.access(program, os.X_OK):
            return REAL
        try:
            keeper = _connected(address)
        except OSError:
            _serve(address, program, imports, path)
            keeper = _connected(address)
    keeper.sendall(KEEP)
    keeper.detach()  # it closes when this process ends
    return str(program)


def _connected(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


def _serve(address: str, program: Path, imports: str, path: str) -> None:
    """Start a server; what connects before it has imported everything waits for it."""
    Path(address).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        number = listener.fileno()
        with (program.parent / "log").open("ab") as log:
            server = subprocess.Popen(
                [REAL, "-m", "tests.warm.server", str(number), str(program), imports],
                cwd="/" if path else ROOT,  # it comes before PYTHONPATH
                env={**os.environ, "PYTHONPATH": path} if path else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[number],
                start_new_session=True,
            )
        server.returncode = 0  # nobody waits for it
