"""How many CPU threads a model gets: as many as there are idle cores."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from lidr.components.shared.core.cgroups import cgroup_folders
from lidr.components.shared.core.events import emit

_MIN_PARAMETERS = 10_000_000
"""For a smaller model a second thread costs more than it saves: measured on the tiny world, one
thread is as fast as two idle ones and many times faster than two busy ones."""

SHARING = "LIDR_SHARING_PROCESSES"
"""Environment variable: number of processes like this one, children of the same parent, that share
the machine. Default 1."""

_SAMPLE_SECONDS = 0.3
_STAT = Path("/proc/stat")
_PROCESSES = Path("/proc")


def fit_threads(parameters: int) -> None:
    """Let torch use as many threads as cores are idle, and one for a small model.

    More threads than idle cores wait for one another at every layer: with five other busy
    processes on two cores, a 135M-parameter model made 5.6 tokens/s with two threads, 53 with one.
    Does nothing if OMP_NUM_THREADS is set or a GPU is present.
    """
    import torch

    if "OMP_NUM_THREADS" in os.environ or torch.cuda.is_available():
        return
    if parameters < _MIN_PARAMETERS:
        torch.set_num_threads(1)
        return
    processes = int(os.environ.get(SHARING, "1"))
    cores = allowed_cores() / processes
    idle = idle_cores(_SAMPLE_SECONDS, siblings=processes > 1) / processes
    threads = max(1, min(int(cores), round(idle)))
    torch.set_num_threads(threads)
    emit(
        "note",
        message=f"{threads} CPU thread{'s' * (threads > 1)}: {idle:.1f} cores are idle, "
        f"{cores:g} may be used (set OMP_NUM_THREADS for another number)",
    )


def allowed_cores() -> float:
    """Return how many cores this process may use: its affinity, and the quotas of its cgroups."""
    affinity = getattr(os, "sched_getaffinity", None)  # macOS has none
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min([float(cores), *_quotas()])


def _quotas() -> list[float]:
    """Return the quotas of version 2 (`cpu.max`) and version 1 of cgroups, in cores."""
    found = []
    for folder in cgroup_folders(""):
        with suppress(OSError, ValueError):  # ValueError: "max", no quota
            quota, period = (folder / "cpu.max").read_text().split()
            found.append(int(quota) / int(period))
    for folder in cgroup_folders("cpu"):
        with suppress(OSError, ValueError):
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period")
            )
            found.append(int(quota) / int(period))
    return [cores for cores in found if cores > 0]


def threads_of_each(processes: int) -> dict[str, str]:
    """Return OMP_NUM_THREADS for processes that share this machine's cores; {} if it is set."""
    if "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max(1, int(allowed_cores() / processes)))}


def idle_cores(seconds: float, *, siblings: bool = False) -> float:
    """Return how many of the machine's cores are idle while this process sleeps for `seconds`.

    Returns the number of all cores if the kernel does not count their ticks.

    Args:
        seconds: how long to measure.
        siblings: also count what other children of this process's parent use: those that started
            earlier have their share of the cores already.
    """
    theirs = sibling_ticks() if siblings else 0
    before = _times()
    time.sleep(seconds)
    after = _times()
    theirs = max(0, sibling_ticks() - theirs) if siblings else 0
    passed = [late - early for early, late in zip(before, after, strict=False)]
    if not sum(passed):  # no /proc/stat, or one of zeros, as in gVisor
        return float(os.cpu_count() or 1)
    idle = passed[3] + passed[4] + theirs  # idle, and waiting for a disk
    return (os.cpu_count() or 1) * idle / sum(passed)


def sibling_ticks() -> int:
    """Return the ticks that the other children of this process's parent have spent."""
    own, parent = str(os.getpid()), str(os.getppid())
    spent = 0
    for file in _PROCESSES.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):  # it may end meanwhile
            fields = file.read_text().rpartition(")")[2].split()
            if fields[1] == parent and file.parent.name != own:
                spent += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
    return spent


def _times() -> list[int]:
    """Return the ticks that all cores together have spent: user, nice, system, idle, iowait, ..."""
    with suppress(OSError, ValueError):
        return [int(ticks) for ticks in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    return []
