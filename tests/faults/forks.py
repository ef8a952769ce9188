"""The real loop in processes that start in a moment.

A step spends most of a small run on its imports. Here one process imports everything once, and
every driver and every task of KFP is forked from it. Pipeline, driver, steps, store and registry
are the real ones; only the `python -m` before a task is not.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn, TypeVar

from lidr.components.shared.run_lease import run_lease
from lidr.pipelines.local import LocalJob
from lidr.pipelines.run_lock import locked
from tests.faults import tripwires
from tests.kfp_forks import become_task
from tests.warm import python

Result = TypeVar("Result")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.warm.imports"])


@dataclass(frozen=True)
class Orders:
    """What a driver is to do.

    Attributes:
        job: the run.
        environment: what the processes see beside what `lidr run` sets.
        trace: gets a line a moment; see tripwires.
        fatal: moments at which a process dies.
        victim: `task` or `all`.
        prepare: called in the driver before anything else.
    """

    job: LocalJob
    trace: Path
    environment: tuple[tuple[str, str], ...] = ()
    fatal: frozenset[str] = frozenset()
    victim: str = "all"
    prepare: Callable[[], None] | None = None


def start(orders: Orders) -> BaseProcess:
    """Start a driver in a process group of its own."""
    process = _context.Process(target=_drive, args=(orders,))
    _begin(process)
    return process


def call(function: Callable[..., Result], *arguments: object) -> Result:
    """Return what a function returns in a process that has everything imported.

    Raises:
        AssertionError: it raised; carries what.
    """
    near, far = _context.Pipe(duplex=False)
    process = _context.Process(target=_answer, args=(far, function, arguments))
    _begin(process)
    far.close()
    try:
        returned, failure = near.recv()
    finally:
        process.join()
        near.close()
    assert not failure, failure
    return returned


def _begin(process: BaseProcess) -> None:
    """Start a process; the first one starts the server that it is a fork of."""
    multiprocessing.set_executable(python())
    try:
        process.start()
    finally:
        multiprocessing.set_executable(sys.executable)


def _answer(pipe: Connection, function: Callable[..., object], arguments: Sequence[object]) -> None:
    try:
        pipe.send((function(*arguments), ""))
    except Exception:
        pipe.send((None, traceback.format_exc()))


def _drive(orders: Orders) -> None:
    """Do what `lidr run` and its driver do, in one process."""
    from kfp.local import subprocess_task_handler

    from lidr.pipelines import driver, local

    os.setsid()
    job = orders.job
    os.environ.update(orders.environment)
    settings = local.task_environment(job)
    settings.pop("TMPDIR")  # a job finds its work folder by the driver's own
    os.environ.update(settings)
    job.log.parent.mkdir(parents=True, exist_ok=True)
    log = os.open(job.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    tripwires.lay(orders.trace, orders.fatal, orders.victim)
    if orders.prepare:
        orders.prepare()
    subprocess_task_handler.run_local_subprocess = _fork_task
    with run_lease(job.store, job.run), locked(job.folder, job.run), local._workspace(job):
        os.chdir(job.work)
        driver._run(
            {
                "recipe": job.recipe,
                "store": job.store,
                "run": job.run,
                "max_unroll": job.max_unroll,
                "max_iterations": job.max_iterations,
                "shards": job.shards,
                "launch": job.launch,
                "promotion": {},
                "work": str(job.work),
            }
        )


def _fork_task(full_command: Sequence[str], env_vars: object = None) -> int:
    """Run a task of KFP in a fork of this process; return its exit code."""
    name = full_command[full_command.index("--function_to_execute") + 1]
    tripwires.pass_by("before", f"task {name}")
    child = os.fork()
    if not child:
        _become(full_command)
    _, status = os.waitpid(child, 0)
    tripwires.pass_by("after", f"task {name}")
    return os.waitstatus_to_exitcode(status)


def _become(full_command: Sequence[str]) -> NoReturn:
    os.environ["TMPDIR"] = tempfile.tempdir = str(Path.cwd() / "tmp")
    become_task(full_command)
