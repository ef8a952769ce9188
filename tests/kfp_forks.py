"""Tasks of kfp.local as forks of the driver, which has imported what they import.

A task of a small run spends nearly all of its time on its imports. `lay` puts a driver before the
real one, which it runs: pipeline, driver and steps are the real ones, only the `python -m` before a
task is not. Where the tasks' own processes are the thing under test, set TASKS=processes.
"""

from __future__ import annotations

import atexit
import builtins
import importlib
import logging
import os
import runpy
import sys
import tempfile
import threading
import traceback
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]

EXTENDED = "from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\n"
"""The `__init__.py` of a package of which an overlay holds a part."""

_print = builtins.print  # kfp.local indents the one that it finds while a task runs
_forking = threading.Lock()


def lay(overlay: Path, *warm: str) -> None:
    """Lay a driver whose tasks are forks over the real one.

    Args:
        overlay: a folder that comes before the checkout in PYTHONPATH.
        warm: names of the modules that the driver imports before its tasks do.
    """
    package = overlay / "lidr" / "pipelines"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text(EXTENDED)
    body = f"from tests import kfp_forks\n\nkfp_forks.drive({warm!r})\n"
    (package / "driver.py").write_text(body)


def drive(warm: Sequence[str]) -> None:
    """Be the driver of `lidr run`."""
    if os.environ.get("TASKS") != "processes":
        fork_tasks(warm)
    runpy.run_path(str(ROOT / "pipelines" / "driver.py"), run_name="__main__")


def fork_tasks(warm: Sequence[str] = ()) -> None:
    """Let kfp.local fork this process for every task from now on."""
    from lidr.pipelines.lean import import_kfp

    import_kfp()
    from kfp.local import subprocess_task_handler

    for name in ("kfp.dsl.executor_main", *warm):
        importlib.import_module(name)
    subprocess_task_handler.run_local_subprocess = _run_task


def _run_task(full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
    """Run a task in a fork, print what it says, and return its exit code."""
    sys.stdout.flush()
    with _forking:  # of two tasks side by side neither holds the other's pipe open
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.dup2(theirs, 1)
            os.dup2(theirs, 2)
            os.close(theirs)
            os.close(ours)
            os.environ.update(env_vars or {})
            become_task(full_command)
        os.close(theirs)
    with os.fdopen(ours, errors="replace") as said:
        for line in said:
            print(line, end="")
        print("\n")
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def become_task(full_command: Sequence[str]) -> NoReturn:
    """Do in a fork what `python -m kfp.dsl.executor_main` does, and end."""
    from kfp.dsl.executor_main import executor_main

    code = 1
    weakref.finalize._registry.clear()  # the driver's temporary folders are not a task's
    builtins.print = _print
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
    logging.getLogger().handlers.clear()
    try:
        at = full_command.index("--executor_input")
        source = Path(tempfile.mkdtemp()) / "ephemeral_component.py"
        source.write_text(full_command[at - 1])
        sys.argv = ["task", "--component_module_path", str(source), *full_command[at:]]
        executor_main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        end_fork(code)


def end_fork(code: int) -> NoReturn:
    """End a fork as a program ends: threads and pools of processes first, then what is at exit."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    os._exit(code)
