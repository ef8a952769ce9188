"""A run that is killed again and again, and what must hold after each time."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from lidr.components.shared.kubernetes.launch import Launch
from lidr.pipelines.local import LocalJob
from tests.faults import forks
from tests.faults.contents import TEMPORARY, contents, finished_work, tracked, versions

RUN = "small"
SIZES = [
    "generation.engine=transformers",
    "toy.passes=1.1",
    "toy.solutions=200",
    "toy.weak_solutions=50",
    "toy.translations=60",
    "toy.evaluation_items=8",
    "prompts.per_iteration=16",
    "generation.chunk_size=8",
    "translation.round_trip_sample=4",
    "training.batch_size=8",
    "gate.tolerance=1.0",
    "gate.max_iterations=1",
    "pairing.reward.on_stop=train",
]
"""Sizes at which M_0 learns too little to be trusted, but every step does real work."""

_PATIENCE = 600.0


@dataclass
class Life:
    """One run on a store of its own.

    Attributes:
        folder: that it may use.
        recipe: the resolved recipe as JSON.
        environment: what its processes see besides.
        run: its name.
        prepare: called in each of its drivers before anything else.
        killed: the moments at which it was killed so far.
    """

    folder: Path
    recipe: str
    environment: tuple[tuple[str, str], ...] = ()
    run: str = RUN
    prepare: Callable[[], None] | None = None
    killed: list[str] = field(default_factory=list)

    @property
    def store(self) -> Path:
        """Where the store is, as a folder."""
        return self.folder / "store"

    @property
    def uri(self) -> str:
        """Where the store is."""
        return str(self.store)

    @property
    def trace(self) -> Path:
        return self.folder / "trace"

    @property
    def job(self) -> LocalJob:
        often = Launch(checkpoint_steps=2).text()
        return LocalJob(
            self.recipe, self.uri, self.run, max_unroll=1, max_iterations=1, launch=often
        )

    def live(
        self, fatal: Collection[str] = (), victim: str = "all", seconds: float = _PATIENCE
    ) -> int:
        """Execute the run until it ends or is killed; return its exit code (-9 for a kill).

        Args:
            fatal: moments at which to kill.
            victim: `task` or `all`.
            seconds: after which everything is killed.
        """
        before = self.work()
        begin = len(self.moments())
        process = self.start(fatal, victim)
        process.join(seconds)
        if process.is_alive():
            assert seconds < _PATIENCE, f"the run hangs; see {self.job.log}"
            self.killed.append(f"after {seconds:.2f} s")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()
        fresh = self.moments()[begin:]
        self.killed += [line.removeprefix("killed ") for line in fresh if line.startswith("killed")]
        self._require_no_orphan(process.pid)
        after = self.work()
        touched = [path for path, at in before.items() if after.get(path) != at]
        assert not touched, f"lost or made again after {self.killed[-1:]}: {touched}"
        return process.exitcode

    def start(self, fatal: Collection[str] = (), victim: str = "all") -> BaseProcess:
        """Start a driver of the run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return forks.start(
            forks.Orders(
                self.job, self.trace, self.environment, frozenset(fatal), victim, self.prepare
            )
        )

    def work(self) -> dict[str, object]:
        """Return what must never be made again, and when it was made."""
        return finished_work(self.store)

    def log(self) -> str:
        """Return what the run has said."""
        return self.job.log.read_text(errors="replace") if self.job.log.exists() else ""

    def live_through(self, ahead: Collection[str], rng: random.Random) -> None:
        """Execute the run again and again, each time until it meets one of the moments ahead.

        Args:
            ahead: moments; one that the run passes no more kills nobody.
            rng: says whether a task dies or all of the run.
        """
        code = -signal.SIGKILL
        while code:
            left = set(ahead) - set(self.killed)
            kills = len(self.killed)
            code = self.live(left, rng.choice(("task", "all")))
            assert not code or len(self.killed) > kills, f"it failed by itself; see {self.job.log}"

    def moments(self) -> list[str]:
        """Return the moments that the run's processes have passed."""
        return self.trace.read_text().splitlines() if self.trace.exists() else []

    def finish(self) -> None:
        """Execute the run to its end, an hour after whatever killed it."""
        for path in self.store.rglob(f"{TEMPORARY}*"):
            os.utime(path, (0, 0))
        code = self.live()
        assert code == 0, f"exit code {code} after {self.killed[-1:]}; see {self.job.log}"
        assert not list(self.store.rglob(f"{TEMPORARY}*")), "temporary files are left"
        assert not self.job.work.exists(), f"{self.job.work} is left"

    def outcome(self) -> dict[str, object]:
        """Return all that the run has made."""
        uri = f"sqlite:///{self.store}/mlflow.db"
        return {
            **contents(self.store, self.run),
            "registry": forks.call(versions, uri, self.uri),
            "tracked": forks.call(tracked, uri),
        }

    def _require_no_orphan(self, group: int) -> None:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                os.killpg(group, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)
        raise AssertionError(f"processes of group {group} are left")


def small_recipe(settings: Sequence[str] = ()) -> str:
    """Return the recipe of the small run as JSON."""
    from lidr.pipelines.cli.inputs import read_recipe

    return read_recipe("tiny_world", None, [*SIZES, *settings]).model_dump_json()


def chosen(moments: Sequence[str], rng: random.Random, each: int) -> list[str]:
    """Return moments of every step: its first, its last, its marker's, and others at random.

    Args:
        moments: of an undisturbed run, in order.
        rng: chooses.
        each: how many of a step.
    """
    steps: dict[str, list[str]] = {}
    for moment in dict.fromkeys(moments):
        if step := _step_of(moment):
            steps.setdefault(step, []).append(moment)
    found = []
    for own in steps.values():
        sample = {own[0], own[-1], *(each for each in own if each.endswith("_SUCCESS"))}
        more = rng.sample(own, min(each, len(own)))
        found += rng.sample(sorted({*sample, *more}), min(each, len({*sample, *more})))
    order = {moment: number for number, moment in enumerate(moments)}
    return sorted(found, key=order.__getitem__)


def _step_of(moment: str) -> str:
    """Return whose moment it is; "" for one that has another name in another run."""
    _, operation, key = moment.split(" ", 2)
    parts = key.split("/")
    if operation == "task":
        return "between"
    if parts[0] == "stages" and parts[1] != "register" and parts[3] != "engine":
        return parts[1]
    if parts[0] == "runs" and parts[-1] in ("state.json", "recipe.json", "result.json"):
        return "state" if parts[-1] != "result.json" else "report"
    return ""


def begin(base: Life, life: Life) -> Life:
    """Give a run the world and the empty tables of MLflow that another one has made."""
    shutil.copytree(base.store / "stages" / "prepare", life.store / "stages" / "prepare")
    shutil.copyfile(base.folder / "mlflow.db", life.store / "mlflow.db")
    return life


def make_tables(folder: Path) -> None:
    """Let MLflow make its tables; with SQLite that takes as long as a small stage."""
    folder.mkdir(parents=True, exist_ok=True)
    forks.call(_make_tables, f"sqlite:///{folder}/mlflow.db")


def _make_tables(uri: str) -> None:
    from lidr.components.shared.tracking.client import client_at

    client_at(uri).search_experiments()
