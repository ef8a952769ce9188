from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from lidr.components.shared.core import cgroups, threads
from lidr.components.shared.core.threads import (
    allowed_cores,
    fit_threads,
    idle_cores,
    threads_of_each,
)

LARGE = 135_000_000


@pytest.fixture(autouse=True)
def own_threads(monkeypatch):
    """Give back the number of threads that the test began with."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def machine(
    monkeypatch, tmp_path, idle: float, cores: int = 8, files: dict[str, str] | None = None
):
    """Let a machine have that many cores, so many of them idle, and these files of a cgroup."""
    for name, text in (files or {}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    busy = [round(100 * (cores - idle)), 0, 0, round(100 * idle), 0, 0, 0, 0]
    looks = iter([[0] * 8, busy])
    own = tmp_path / "own"
    own.write_text("3:cpu,cpuacct:/slurm/job_7\n0::/a.slice/b.service\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "OWN", own)
    monkeypatch.setattr(threads, "_times", lambda: next(looks))
    monkeypatch.setattr(threads, "sibling_ticks", lambda: 0)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)))


@pytest.mark.parametrize(
    ("idle", "files", "expected"),
    [
        (8.0, {}, 8),
        (3.2, {}, 3),
        (0.1, {}, 1),
        (8.0, {"cpu.max": "250000 100000\n"}, 2),
        (8.0, {"cpu.max": "max 100000\n"}, 8),
        (1.0, {"cpu.max": "400000 100000\n"}, 1),
        (8.0, {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (8.0, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        (8.0, {"cpu.max": "50000 100000\n"}, 1),
        (8.0, {"a.slice/b.service/cpu.max": "250000 100000\n"}, 2),
        (8.0, {"a.slice/cpu.max": "250000 100000\n", "a.slice/b.service/cpu.max": "max 1\n"}, 2),
        (8.0, {"a.slice/other/cpu.max": "250000 100000\n"}, 8),
        (
            8.0,
            {
                f"cpu/slurm/job_7/cpu.cfs_{k}_us": v
                for k, v in (("quota", "300"), ("period", "100"))
            },
            3,
        ),
    ],
)
def test_threads_are_as_many_as_cores_are_free(monkeypatch, tmp_path, idle, files, expected):
    machine(monkeypatch, tmp_path, idle, files=files)
    fit_threads(LARGE)
    assert torch.get_num_threads() == expected


@pytest.mark.parametrize(("processes", "idle", "expected"), [(2, 8.0, 4), (4, 8.0, 2), (4, 4.0, 1)])
def test_processes_that_share_a_machine_share_its_idle_cores(
    monkeypatch, tmp_path, processes, idle, expected
):
    machine(monkeypatch, tmp_path, idle)
    monkeypatch.setenv(threads.SHARING, str(processes))
    fit_threads(LARGE)
    assert torch.get_num_threads() == expected


@pytest.mark.parametrize(
    ("idle", "theirs", "expected"),
    [
        (8.0, 0.0, 4),
        (4.0, 4.0, 4),  # the other one has begun
        (3.0, 1.0, 2),  # strangers have the other four cores
        (0.0, 8.0, 4),
        (4.0, -1.0, 2),  # the other one ended meanwhile
    ],
)
def test_process_that_starts_later_has_the_same_share_of_the_machine(
    monkeypatch, tmp_path, idle, theirs, expected
):
    machine(monkeypatch, tmp_path, idle)
    ticks = iter([500, 500 + round(100 * theirs)])
    monkeypatch.setattr(threads, "sibling_ticks", lambda: next(ticks))
    monkeypatch.setenv(threads.SHARING, "2")
    fit_threads(LARGE)
    assert torch.get_num_threads() == expected


BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
COUNT = "from lidr.components.shared.core.threads import sibling_ticks; print(sibling_ticks())"


def test_ticks_are_those_of_other_children_of_the_same_parent():
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as busy:
        assert busy.stdout and busy.stdout.readline() == "done\n"
        counted = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True)
        busy.communicate("\n")
    assert int(counted.stdout) >= 0.25 * os.sysconf("SC_CLK_TCK"), counted.stderr


def test_threads_are_said_once_a_model(monkeypatch, tmp_path, capsys):
    machine(monkeypatch, tmp_path, 3.2)
    fit_threads(LARGE)
    told = capsys.readouterr().err
    assert told.count("CPU thread") == 1 and "3 CPU threads: 3.2 cores are idle, 8 may" in told


def test_a_small_model_has_one_thread_and_does_not_look(monkeypatch, tmp_path, capsys):
    machine(monkeypatch, tmp_path, 8.0)
    fit_threads(500_000)
    assert torch.get_num_threads() == 1
    assert capsys.readouterr().err == ""


def test_a_number_of_threads_that_is_given_stands(monkeypatch, tmp_path):
    machine(monkeypatch, tmp_path, 8.0)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    before = torch.get_num_threads()
    fit_threads(LARGE)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("processes", "files", "each"),
    [
        (2, {}, "4"),
        (3, {}, "2"),
        (16, {}, "1"),
        (2, {"cpu.max": "250000 100000\n"}, "1"),
    ],
)
def test_processes_of_one_machine_share_the_cores_that_they_may_use(
    monkeypatch, tmp_path, processes, files, each
):
    machine(monkeypatch, tmp_path, 8.0, files=files)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert threads_of_each(processes) == {"OMP_NUM_THREADS": each}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of_each(processes) == {}


@pytest.mark.parametrize("text", ["cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 0 0 0 0\n", "", None])
def test_a_kernel_that_does_not_count_leaves_all_cores(monkeypatch, tmp_path, text):
    stat = tmp_path / "stat"
    if text is not None:
        stat.write_text(text)
    monkeypatch.setattr(threads, "_STAT", stat)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert idle_cores(0.0) == 8.0


def test_the_real_machine_says_what_is_idle():
    assert 0 <= idle_cores(0.1) <= (os.cpu_count() or 1)
    assert 0 < allowed_cores() <= (os.cpu_count() or 1)
