"""A fork is what a program would be, and its stand-in what a child of this process would be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.warm import REAL, python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(python() == REAL, reason="no forks here (see tests.warm)"),
]


def run(code: str, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [python(), "-c", code, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True


def until(true: object) -> None:
    end = time.monotonic() + 20
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_fork_has_what_its_caller_gives_it(tmp_path: Path):
    code = "import os, sys; print(os.getcwd(), os.environ['GIVEN'], sys.argv, sys.stdin.read())"
    environment = {**os.environ, "GIVEN": "é"}
    done = run(code, "a b", cwd=tmp_path, env=environment, input="said")
    assert done.stdout == f"{tmp_path} é ['-c', 'a b'] said\n"
    imported = run("import sys; print('torch' in sys.modules, sys.executable)")
    assert imported.stdout == f"True {python()}\n"


def test_a_fork_has_the_files_that_are_handed_on():
    near, far = os.pipe()
    with os.fdopen(near, "rb") as said:
        run(f"import os; os.write({far}, b'here')", pass_fds=[far])
        os.close(far)
        assert said.read() == b"here"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("raise SystemExit('said')", 1),
        ("1 / 0", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import atexit, os; atexit.register(os._exit, 5)", 5),
    ],
)
def test_a_stand_in_ends_as_a_program_does(code: str, status: int):
    done = run(code)
    program = subprocess.run([REAL, "-c", code], capture_output=True, text=True)
    assert done.returncode == program.returncode == status
    assert done.stderr.splitlines()[-1:] == program.stderr.splitlines()[-1:]


SLEEPS = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_fork_gets_its_stand_in_s_signals_and_dies_with_it(number: signal.Signals):
    command = [python(), "-c", SLEEPS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as stand_in:
        assert stand_in.stdout
        fork = int(stand_in.stdout.readline())
        assert fork != stand_in.pid
        stand_in.send_signal(number)
    assert stand_in.returncode == -number
    until(lambda: gone(fork))


def test_a_fork_ignores_what_its_stand_in_does():
    code = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    done = run(code, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert done.stdout == "True\n"


def test_what_it_starts_are_forks_and_what_it_cannot_do_is_done_by_a_program():
    child = "import os, sys, subprocess; print(os.getppid(), flush=True);"
    child += "subprocess.run([sys.executable, '-c', 'import os; print(os.getppid())'])"
    first, second = run(child).stdout.split()
    assert first == second, "the server is the parent of both"
    flags = subprocess.run(
        [
            python(),
            "-X",
            "dev",
            "-c",
            "import sys; print(sys.flags.dev_mode, 'torch' in sys.modules)",
        ],
        capture_output=True,
        text=True,
    )
    assert flags.stdout == "True False\n"
    assert sys.executable == REAL
