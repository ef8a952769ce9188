"""A world of fake steps around the real loop, driver and command line."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from lidr.components.shared.core.processes import kill_marked, marked_pids
from tests.kfp_forks import EXTENDED, ROOT, lay
from tests.warm import python

FAKED = {
    "prepare": "prepare",
    "generate": "generate",
    "translate": "translate",
    "merge": "merge, Merged",
    "score": "score",
    "grade": "grade",
    "pair": "pair_and_check",
    "train": "train",
    "evaluate": "evaluate",
    "judge": "judge",
    "gate": "gate",
    "register": "register",
    "report": "report, report_failure",
}


@dataclass
class FakeWorld:
    """A store, and an environment in which `components.<step>.run` is a fake.

    Command line and driver are forks of `tests.warm`, and tasks forks of the driver. With
    TASKS=processes, as in `start`, tasks are like the first two; `orphans` and `close` see these.
    """

    store: Path
    environment: dict[str, str]
    python: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def lidr(self, *arguments: str, **fake: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment | {"FAKE": json.dumps(fake)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(
        self, *arguments: str, program: bool = False, **fake: object
    ) -> subprocess.Popen[str]:
        """Start `lidr`, which is to be interrupted.

        Args:
            *arguments: of `lidr`.
            program: start programs, no forks: for tests of what is left where some of them die.
            **fake: what the steps do.
        """
        _, *words = self.command(*arguments)
        process = subprocess.Popen(
            [sys.executable if program else self.python, *words],
            env=self.environment | {"FAKE": json.dumps(fake), "TASKS": "processes"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def close(self) -> None:
        """End what a failed test left, and its pipes."""
        for process in self.processes:
            process.kill()
            process.communicate()
        if (self.store / "runs").exists():
            for folder in (self.store / "runs").iterdir():
                kill_marked("LIDR_EVENTS", str(folder / "events.jsonl"))

    def command(self, *arguments: str) -> list[str]:
        store = ["--store", str(self.store)]
        return [self.python, "-m", "lidr.pipelines.cli", *arguments, *store]

    @property
    def run(self) -> Path:
        (folder,) = (self.store / "runs").iterdir()
        return folder

    @property
    def result(self) -> dict:
        return json.loads((self.run / "result.json").read_text())

    @property
    def work(self) -> list[str]:
        """URIs of the stages in the order in which they were finished."""
        log = self.store / "work.log"
        return log.read_text().splitlines() if log.exists() else []

    @property
    def steps(self) -> list[str]:
        return [uri.split("/")[-2] for uri in self.work]

    @property
    def orphans(self) -> list[int]:
        return marked_pids("LIDR_EVENTS", str(self.run / "events.jsonl"))

    @property
    def driver(self) -> int:
        """The process that runs the pipeline."""
        names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in self.orphans}
        return next(pid for pid, name in names.items() if b"lidr.pipelines.driver" in name)


@pytest.fixture
def fake_world(tmp_path: Path) -> Iterator[FakeWorld]:
    world = make_world(tmp_path)
    yield world
    world.close()


@pytest.fixture(scope="module")
def one_round(tmp_path_factory: pytest.TempPathFactory) -> FakeWorld:
    """A world whose run `mine` of one iteration has ended."""
    folder = tmp_path_factory.mktemp("one")
    world = make_world(folder)
    (folder / "tmp").mkdir()
    world.environment["TMPDIR"] = str(folder / "tmp")
    done = world.lidr("run", "tiny_world", "--run", "mine", "--set", "gate.max_iterations=1")
    assert done.returncode == 0, done.stderr
    return world


def make_world(folder: Path) -> FakeWorld:
    """Return a world in a folder; all worlds of a process share the fakes."""
    python_path = _fakes()
    environment = {**os.environ, "PYTHONPATH": python_path}
    return FakeWorld(folder / "store", environment, python("tests.pipelines.imports", python_path))


@cache
def _fakes() -> str:
    """Lay fakes over the steps; return the PYTHONPATH that has them."""
    folder = Path(tempfile.mkdtemp(prefix="lidr-fakes-"))
    overlay = folder / "lidr" / "components"
    for step, function in FAKED.items():
        (overlay / step).mkdir(parents=True)
        (overlay / step / "__init__.py").write_text(EXTENDED)
        module = f"from tests.pipelines.fake_steps import {function}\n"
        (overlay / step / "run.py").write_text(module)
    (overlay / "__init__.py").write_text(EXTENDED)
    lay(folder, "tests.pipelines.fake_steps", "lidr.components.state.run")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return os.pathsep.join([str(folder), str(ROOT)])
