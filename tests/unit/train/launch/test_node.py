"""Why a node's ranks ended: the one that died first is the cause, whatever torchrun did then."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lidr.components.shared.core.errors import BadInput, LaunchFailed, Stopped
from lidr.components.shared.kubernetes.failure import (
    DIED,
    FAILED,
    FOLDER_VARIABLE,
    RecordedFailure,
    failure_of,
    record_failure,
    root_cause,
)
from lidr.components.train.launch.node import SHUTDOWN_VARIABLE, _cause, _stopped_code, main

SILENT = pytest.mark.parametrize("silent", [0.0, 7200.0])
"""Seconds for which rank 1 had printed nothing: ranks above 0 may print nothing for hours."""


def died(local_rank: int, code: int, at: int, scratch: Path, printed: float) -> Any:
    """Return a failure as torchrun reports it, and leave what the rank printed."""
    folder = scratch / "logs" / "run" / "attempt_0" / str(local_rank)
    folder.mkdir(parents=True)
    log = folder / "stderr.log"
    log.write_text(f"rank {local_rank} was here\n")
    os.utime(log, (printed, printed))
    return SimpleNamespace(local_rank=local_rank, exitcode=code, timestamp=at)


@SILENT
@pytest.mark.parametrize(
    ("first", "second", "message", "remedy"),
    [
        # Rank 1 dies of itself; rank 0 waits in the driver until torchrun kills it.
        ((-signal.SIGKILL, 1030), (-signal.SIGSEGV, 1000), "rank 1 was killed by SIGSEGV", ""),
        ((-signal.SIGTERM, 1001), (3, 1000), "rank 1 exited with 3", ""),
        # Rank 0 is killed for its memory; rank 1 loses it, and fails of that.
        ((-signal.SIGKILL, 1000), (1, 1000), "rank 0 was killed by SIGKILL", "Give the ranks more"),
    ],
)
def test_the_cause_is_the_first_death(tmp_path, first, second, message, remedy, silent):
    failures = {
        0: died(0, *first, tmp_path, printed=9000.0),
        1: died(1, *second, tmp_path, printed=9050.0 - silent),
    }
    found = _cause(failures, tmp_path)
    assert found.message.startswith(message)
    assert found.remedy.startswith(remedy) and bool(found.remedy) == bool(remedy)


@SILENT
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ((-signal.SIGTERM, 1001), "another rank did not answer"),  # torchrun ended it
        ((1, 1000), "rank 1 exited with 1"),
    ],
)
def test_a_rank_that_lost_another_says_so_unless_that_one_died(
    tmp_path, monkeypatch, other, message, silent
):
    """A record stands for its rank's own death; a death may print more after the others' loss."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    record_failure(LaunchFailed("another rank did not answer"))
    failures = {
        0: died(0, 1, 1000, tmp_path, printed=9000.0),
        1: died(1, *other, tmp_path, printed=9050.0 - silent),
    }
    assert _cause(failures, tmp_path).message.startswith(message)


@pytest.mark.parametrize(("stopped", "code"), [(2, 143), (1, FAILED), (0, FAILED)])
def test_a_node_was_stopped_if_all_of_its_ranks_have_a_last_checkpoint(
    tmp_path, monkeypatch, capsys, stopped: int, code: int
):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    for rank in range(stopped):
        monkeypatch.setenv("RANK", str(rank))
        record_failure(Stopped("stopped at step 3, with a checkpoint"))
    assert _stopped_code(tmp_path, 2) == code
    said = capsys.readouterr().err
    assert bool(said) == (stopped < 2)
    assert stopped == 2 or f"{2 - stopped} of 2 ranks wrote no last checkpoint within 30 s" in said


def test_a_death_is_torchrun_s_as_late_as_torchrun_kills(tmp_path, monkeypatch):
    failures = {
        0: died(0, -signal.SIGKILL, 1030, tmp_path, printed=9000.0),
        1: died(1, -signal.SIGSEGV, 1000, tmp_path, printed=9050.0),
    }
    assert _cause(failures, tmp_path).message.startswith("rank 1 was killed by SIGSEGV")
    monkeypatch.setenv(SHUTDOWN_VARIABLE, "595")
    failures[0].timestamp = 1594
    assert _cause(failures, tmp_path).message.startswith("rank 1 was killed by SIGSEGV")
    monkeypatch.setenv(SHUTDOWN_VARIABLE, "soon")
    with pytest.raises(BadInput, match="SHUTDOWN_TIMEOUT is 'soon'"):
        _cause(failures, tmp_path)


def test_a_node_that_lost_another_comes_behind_that_one_s_death():
    lost = failure_of(LaunchFailed("not all 2 nodes reached node-0"))
    died_later = RecordedFailure(
        kind="launch_failed", message="rank 1 exited with 1", order=DIED, time=lost.time + 60
    )
    assert root_cause([lost, died_later]) is died_later


def test_a_node_without_a_store_says_so_in_one_line(tmp_path, capsys):
    (tmp_path / "train").touch()  # where the folder of the stage would be
    for store, word in (("gs://x", "unknown scheme"), (str(tmp_path), "Not a directory")):
        assert main([store, "train/x", "--processes", "1"]) == FAILED
        (line,) = capsys.readouterr().err.splitlines()
        assert word in line
