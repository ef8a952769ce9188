"""Chunks are encoded in a process of its own, which is as good as this one and outlives nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import pytest

from lidr.components.rollout import encoder
from lidr.components.rollout.answers import _identified
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.core.languages import LanguageIdentifier
from lidr.components.shared.records.parquet import from_parquet
from lidr.components.shared.records.schema import Response

TEXTS = ("The children play in the garden.", "Los niños juegan en el jardín.", "\ud83d")


@pytest.fixture
def work():
    rows = [Response(f"p{n}", "en", text, "stop", 1, 1, "") for n, text in enumerate(TEXTS)]
    return partial(_identified, LanguageIdentifier(["en", "es"]).identify), rows, Response


@pytest.fixture
def process():
    yield encoder._process
    encoder._process().shutdown()
    encoder._process.cache_clear()


def test_the_encoding_process_writes_the_bytes_that_this_one_would(work, process):
    data = encoder.encode_in_subprocess(*work)
    assert data == encoder.encode(*work)
    assert [row.detected_language for row in from_parquet(data, Response)] == ["en", "es", "und"]
    assert process().submit(os.getpid).result() != os.getpid()


def test_a_killed_encoding_process_costs_a_warning(work, process, tmp_path, monkeypatch):
    monkeypatch.setenv(EVENTS_VARIABLE, str(tmp_path / "events"))
    os.kill(process().submit(os.getpid).result(), signal.SIGKILL)
    assert encoder.encode_in_subprocess(*work) == encoder.encode(*work)
    assert "encodes chunks died" in (tmp_path / "events").read_text()
    assert process().submit(os.getpid).result(), "the next chunk gets another process"


def test_an_encoding_process_that_died_with_an_engine_is_started_again(work, process):
    pool = process()
    os.kill(pool.submit(os.getpid).result(), signal.SIGKILL)
    with pytest.raises(BrokenProcessPool):
        pool.submit(os.getpid).result()
    encoder.start_subprocess()
    assert encoder.encode_in_subprocess(*work) == encoder.encode(*work)


def test_the_encoding_process_ends_with_a_parent_that_was_killed():
    script = (
        "import multiprocessing, os, time\n"
        "from lidr.components.rollout import encoder\n"
        "if __name__ == '__main__':\n"
        "    child = encoder._process().submit(os.getpid).result()\n"
        "    fork = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,))\n"
        "    fork.start()\n"
        "    print(child, fork.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        child, fork = map(int, parent.stdout.readline().split())
        parent.kill()
    assert not _gone(fork), "it holds what it has from its parent"
    for _ in range(100):
        if _gone(child):
            os.kill(fork, signal.SIGKILL)
            return
        time.sleep(0.2)
    for each in (child, fork):
        os.kill(each, signal.SIGKILL)
    pytest.fail("it lived on for 20 s")


def _gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
