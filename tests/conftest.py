"""What every test has in common."""

from __future__ import annotations

import gc
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from execnet import XSpec

from lidr.components.shared.config.machine import MACHINE
from tests.warm import REAL, python

os.environ.setdefault("LIDR_RETRY_SECONDS", "5")  # a test that meets a dead service ends
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for busy cores cost those cores
sys.executable = REAL  # also in a worker, which is a fork: a test asks for forks by name
multiprocessing.set_executable(REAL)
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script's `&` starts this
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where `nohup` does

LONGEST = (
    "tests/e2e/test_demo.py",
    "tests/e2e/test_cut_off.py",
    "tests/e2e/test_ranks.py",
    "tests/unit/shared/engines/test_vllm.py",
    "tests/faults/test_kills.py",
    "tests/pipelines/test_interruptions.py",
    "tests/e2e/test_two_hosts.py",
    "tests/services/test_endpoint.py",
    "tests/unit/shared/sizing/test_memory.py",
    "tests/unit/train/test_run.py",
    "tests/unit/train/launch/test_local.py",
)
"""Files that keep a worker busy for long. They come first, so that none is left for the end."""

_HEAVY = re.compile(
    r"^\s*(?:import|from) (?:subprocess|multiprocessing|torch|transformers|peft|accelerate|trl|"
    r"deepspeed|vllm|lm_eval|datasets|mlflow|moto|lidr\.pipelines|"
    r"lidr\.components\.(?:train|evaluate|shared\.(?:forward|tracking|engines\.(?:transformers|vllm)_engine))|"
    r"tests\.(?:unit\.(?:train|evaluate|shared\.engines|shared\.registry)|tracked|chains|disks|fuzz))\b",
    re.MULTILINE,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="only files that neither start a process nor import a large library",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if config.getoption("quick") and collection_path.match("test_*.py"):
        return bool(_HEAVY.search(collection_path.read_text("utf-8"))) or None
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("::")[0], len(rank)))
    if config.getoption("quick"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect garbage less often, and never in what all tests share: modules and the tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_xdist_setupnodes(config: pytest.Config, specs: Sequence[XSpec]) -> None:
    """Let workers be forks, too: one process imports for all what takes long."""
    for spec in specs:
        if not config.getoption("quick"):
            spec.python = python()


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test be told of a machine, nor leave one to the next."""
    monkeypatch.setenv(MACHINE, "")


@pytest.fixture
def warm_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what this process starts with `sys.executable` be forks; see `tests.warm`."""
    monkeypatch.setattr(sys, "executable", python())
