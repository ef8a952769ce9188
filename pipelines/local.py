"""Runs the pipeline on this machine, in a child process, under a lock, with a log."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import lidr
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.core.errors import LidrError
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.core.names import require_run_name
from lidr.components.shared.core.processes import end_group, kill_marked
from lidr.components.shared.core.text import one_line
from lidr.components.shared.run_lease import require_held, run_lease
from lidr.components.shared.store.lease import Lease
from lidr.components.shared.store.open import local_folder
from lidr.components.shared.store.runs import FOLDER, PROMOTIONS
from lidr.pipelines.events import Event, parse_events
from lidr.pipelines.run_lock import lock_owner, locked

_POLL_SECONDS = 0.1
_TAIL_LINES = 15
_FAILURE_EVENTS = ("started", "finished", "failed")
"""Kinds of event that `_failure` reads; others come twice a second for days."""
COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class LocalJob:
    """One execution of the pipeline on this machine.

    Attributes:
        recipe: the resolved recipe as JSON.
        store: URI of the store; a folder's is absolute.
        run: name of the run.
        max_unroll: iterations compiled in.
        max_iterations: iterations that may run.
        shards: workers that generate and translate; at most two run at a time.
        settings: environment variables for every step, e.g. MLFLOW_TRACKING_URI.
        launch: how the ranks of the train step are started.
        promotion: arguments of the promotion pipeline, which runs instead of the loop; () for the
            loop.
    """

    recipe: str
    store: str
    run: str
    max_unroll: int = 0
    max_iterations: int = 0
    shards: int = 1
    settings: tuple[tuple[str, str], ...] = ()
    launch: str = ""
    promotion: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        require_run_name(self.run)

    @property
    def folder(self) -> Path:
        """Folder of the run's log, events and lock: beside its results, or in the user's cache."""
        return _machine_folder(self.store, self.parent) / self.run

    @property
    def parent(self) -> str:
        """The store's folder for such jobs: a promotion is not a run, and not listed as one."""
        return PROMOTIONS if self.promotion else FOLDER

    @property
    def events(self) -> Path:
        """The steps' events as JSON Lines, from which the screen is drawn."""
        return self.folder / "events.jsonl"

    @property
    def log(self) -> Path:
        """Everything that libraries and KFP print."""
        return self.folder / "logs" / "run.log"

    @property
    def work(self) -> Path:
        """Folder of temporary files; short, as a socket's path has at most 107 characters."""
        name = f"lidr-{os.getuid()}-{digest_of(str(self.folder))[:8]}"
        return Path(tempfile.gettempdir()) / name


def running(store: str) -> list[str]:
    """Return the names of a store's runs and promotions that this machine is executing."""
    locks = (
        lock
        for parent in (FOLDER, PROMOTIONS)
        for lock in _machine_folder(store, parent).glob("*/lock")
    )
    return [lock.parent.name for lock in locks if lock_owner(lock.parent)]


def _machine_folder(store: str, parent: str) -> Path:
    if folder := local_folder(store):
        return folder / parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "lidr" / parent / digest_of(store)[:8]


def execute(job: LocalJob, watch: Callable[[list[Event]], None]) -> None:
    """Run the pipeline in a child process until it ends.

    However this ends, even by an exception from a signal handler, no process is left.

    Args:
        job: what to run.
        watch: called about ten times a second with the events since the last call.

    Raises:
        BadInput: the run is being executed by another process, here or elsewhere.
        TakenOver: another execution has taken the run over.
        LidrError: a step failed; carries the step's message and exit code.
    """
    with (
        run_lease(job.store, job.run, job.parent) as lease,
        locked(job.folder, job.run),
        _workspace(job),
    ):
        job.log.parent.mkdir(exist_ok=True)
        job.events.write_bytes(b"")
        with job.log.open("ab") as log:
            begin = log.tell()
            driver = _start(job, log.fileno())
        try:
            events = _follow(driver, job, watch, lease)
        finally:
            if driver.poll() is None:
                end_group(driver)
            driver.communicate()
            kill_marked(EVENTS_VARIABLE, str(job.events))
    if driver.returncode:
        raise _failure(job, events, begin)


@contextmanager
def _workspace(job: LocalJob) -> Iterator[None]:
    """Create the folder of temporary files, after removing what a killed execution left."""
    kill_marked(EVENTS_VARIABLE, str(job.events))
    shutil.rmtree(job.work, ignore_errors=True)
    job.work.mkdir(mode=0o700)
    (job.work / "tmp").mkdir()
    try:
        yield
    finally:
        shutil.rmtree(job.work, ignore_errors=True)


def _start(job: LocalJob, log: int) -> subprocess.Popen[bytes]:
    driver = subprocess.Popen(
        [sys.executable, "-m", "lidr.pipelines.driver"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=job.work,
        env=task_environment(job),
        start_new_session=True,
    )
    assert driver.stdin is not None  # noqa: S101
    message = {**asdict(job), "promotion": dict(job.promotion), "work": str(job.work)}
    driver.stdin.write(json.dumps(message).encode() + b"\n")
    driver.stdin.flush()
    return driver


def task_environment(job: LocalJob) -> dict[str, str]:
    """Return the environment that every step of a job runs in."""
    source = str(Path(lidr.__file__).resolve().parent.parent)
    paths = [path for path in (os.environ.get("PYTHONPATH"), source) if path]
    return {
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin are 10 times slower on busy cores
        "TQDM_DISABLE": "1",  # steps report progress; a bar would log a line each refresh
        **os.environ,
        **dict(job.settings),
        EVENTS_VARIABLE: str(job.events),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(job.work / "tmp"),
        "TOKENIZERS_PARALLELISM": "false",
    }


def _follow(
    driver: subprocess.Popen[bytes],
    job: LocalJob,
    watch: Callable[[list[Event]], None],
    lease: Lease,
) -> list[Event]:
    """Pass events to `watch` until the driver ends; return those that `_failure` reads."""
    events: list[Event] = []
    with job.events.open("rb") as stream:
        part, ended = b"", False
        while not ended:
            require_held(lease, job.run)
            ended = _ended(driver)
            *lines, part = (part + stream.read()).split(b"\n")
            fresh = parse_events(lines)
            events += [event for event in fresh if event["event"] in _FAILURE_EVENTS]
            watch(fresh)
    return events


def _ended(driver: subprocess.Popen[bytes]) -> bool:
    try:
        driver.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _failure(job: LocalJob, events: list[Event], begin: int) -> LidrError:
    """Return the error of a failed pipeline: the step's message, or its last log lines.

    The lines include the traceback of an error that was not expected.
    """
    failed = next((event for event in events if event["event"] == "failed"), None)
    if failed is not None and not failed.get("unexpected"):
        error = LidrError(f"{failed['step']}: {failed['message']}")
        error.exit_code = failed["exit_code"]
        return error
    started = [event["step"] for event in events if event["event"] == "started"]
    ended = [event["step"] for event in events if event["event"] == "finished"]
    step = next((name for name in started if started.count(name) > ended.count(name)), "pipeline")
    what = f"{failed['step']} failed: {one_line(failed['message'])}" if failed else f"{step} failed"
    with job.log.open("rb") as log:
        log.seek(begin)
        tail = last_task_lines(log.read().decode("utf-8", "replace"))
    return LidrError(
        f"{what}; its last lines were\n\n{tail}\n\nThe whole log is {job.log}",
        remedy="Running the same command again continues where it stopped.",
    )


def last_task_lines(log: str) -> str:
    """Return the last lines of the first task that failed, from kfp.local's log.

    KFP indents a task's output by four spaces and then names its status.
    """
    lines = COLOUR_CODE.sub("", log).splitlines()
    end = next(
        (number for number, line in enumerate(lines) if "finished with status FAILURE" in line),
        len(lines),
    )
    task = [line.removeprefix("    ") for line in lines[:end] if line.startswith("    ")]
    text = [line for line in task or lines if line.strip(" ^~")]
    return "\n".join(text[-_TAIL_LINES:])
