"""`lidr` as forks of a process that has imported what the command line and its driver import.

A run of fake steps spends nearly all of its time on imports. Command line, driver and tasks are the
real ones in processes of their own; only the `python -m` before each is not.

Started by `WarmLidr`: each line on stdin is a command, each line on its pipe an exit code.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from tests.kfp_forks import ROOT, end_fork, fork_tasks

TIMEOUT_SECONDS = 120
"""For one command, which is killed then."""

PRELOADED = ("lidr.pipelines.loop", "lidr.components.state.run", "tests.pipelines.fake_steps")


class WarmLidr:
    """Runs commands of `lidr`, one after another.

    Args:
        python_path: PYTHONPATH of all of them.
    """

    def __init__(self, python_path: str) -> None:
        answers, theirs = os.pipe()
        self._answers = os.fdopen(answers)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.pipelines.warm", str(theirs)],
            cwd="/",  # the folder where a program starts comes before PYTHONPATH
            env={**os.environ, "PYTHONPATH": python_path},
            stdin=subprocess.PIPE,
            pass_fds=[theirs],
            text=True,
        )
        os.close(theirs)

    def run(
        self, arguments: tuple[str, ...], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run `lidr` with arguments, in exactly this environment."""
        assert self._process.stdin
        with tempfile.TemporaryDirectory() as name:
            out, errors = (Path(name) / each for each in ("out", "errors"))
            order = [arguments, environment, str(Path.cwd()), str(out), str(errors)]
            print(json.dumps(order), file=self._process.stdin, flush=True)
            code = self._answers.readline()
            assert code, "the warm process has ended; the first test that used it shows why"
            return subprocess.CompletedProcess(
                arguments, int(code), out.read_text("utf-8"), errors.read_text("utf-8")
            )

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._answers.close()


def main() -> None:
    """Import everything, then run the commands."""
    cli = importlib.import_module("lidr.pipelines.cli")
    commands = [f"{cli.__name__}.{each.name}" for each in pkgutil.iter_modules(cli.__path__)]
    for name in (*PRELOADED, *commands):
        if not name.endswith("__main__"):
            importlib.import_module(name)
    fork_tasks()
    del sys.modules["tests.pipelines.fake_steps"]  # it reads its orders when it is imported
    with open(int(sys.argv[1]), "w", buffering=1) as answers:
        for line in sys.stdin:
            arguments, environment, folder, out, errors = json.loads(line)
            with open(out, "wb") as stdout, open(errors, "wb") as stderr:
                child = subprocess.Popen(
                    ["lidr"],
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    preexec_fn=partial(_become, environment, partial(_lidr, arguments)),
                )
            try:
                code = child.wait(TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()  # its driver ends with it
                code = child.wait()
            print(code, file=answers)


def _become(environment: dict[str, str], function: Callable[[], object]) -> NoReturn:
    """Run a function instead of the program that a new process was made for, and end."""
    code = 1
    os.closerange(3, 1024)  # what a program would not inherit; one is what Popen waits for
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    try:
        function()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        end_fork(code)


def _lidr(arguments: list[str]) -> None:
    from lidr.pipelines import cli, local

    sys.argv = ["lidr", *arguments]
    local.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": _popen})  # type: ignore[assignment]
    cli.main()


def _popen(command: list[str], *, env: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
    assert command[1:] == ["-m", "lidr.pipelines.driver"]
    return subprocess.Popen(command, preexec_fn=partial(_become, env, _drive), **options)


def _drive() -> None:
    runpy.run_path(str(ROOT / "pipelines" / "driver.py"), run_name="__main__")


if __name__ == "__main__":
    main()
