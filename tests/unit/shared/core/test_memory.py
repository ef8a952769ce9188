from __future__ import annotations

import os

import pytest

from lidr.components.shared.core import cgroups, memory
from lidr.components.shared.core.memory import free_memory

GIB = 1 << 30
NODE = 900 * GIB
"""Free on the machine; a version 1 without a limit has a larger one."""

V1 = "memory/memory"
STAT = f"anon {2 * GIB}\nactive_file {GIB}\ninactive_file {3 * GIB}\nfile {5 * GIB}\n"
STAT_V1 = f"inactive_file 0\ntotal_active_file {GIB}\ntotal_inactive_file {3 * GIB}\n"


def v2(limit: object, used: int) -> dict[str, str]:
    return {"memory.max": f"{limit}\n", "memory.current": f"{used}\n", "memory.stat": STAT}


def v1(limit: int, used: int) -> dict[str, str]:
    return {
        f"{V1}.limit_in_bytes": f"{limit}\n",
        f"{V1}.usage_in_bytes": f"{used}\n",
        f"{V1}.stat": STAT_V1,
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, NODE),
        (v2(16 * GIB, 6 * GIB), 14 * GIB),
        (v2("max", 6 * GIB), NODE),
        (v2(2000 * GIB, 6 * GIB), NODE),
        (v2(4 * GIB, 9 * GIB), 0),
        (v1(16 * GIB, 6 * GIB), 14 * GIB),
        (v1(9223372036854771712, 6 * GIB), NODE),
    ],
)
def test_free_memory_is_what_the_cgroup_leaves_of_the_machine_s(
    monkeypatch, tmp_path, files, expected
):
    (tmp_path / "memory").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {NODE >> 10} kB\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cgroups, "OWN", tmp_path / "absent")
    assert free_memory() == expected


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/", {"": v2(16 * GIB, 6 * GIB)}, 14 * GIB),
        ("0::/a.slice/b.service", {"a.slice/b.service": v2(16 * GIB, 6 * GIB)}, 14 * GIB),
        (
            "0::/a.slice/b.service",
            {"a.slice": v2(8 * GIB, 6 * GIB), "a.slice/b.service": v2(16 * GIB, 6 * GIB)},
            6 * GIB,
        ),
        ("0::/a.slice", {"a.slice/other": v2(8 * GIB, 6 * GIB)}, NODE),
        ("0::/kubepods/pod7", {"": v2(16 * GIB, 6 * GIB)}, 14 * GIB),
        (
            "7:cpu,cpuacct:/x\n4:hugetlb,memory:/slurm/job_7\n1:name=systemd:/y\n0::/z",
            {"slurm/job_7": v1(16 * GIB, 6 * GIB), "x": v1(8 * GIB, 6 * GIB)},
            14 * GIB,
        ),
    ],
    ids=["own namespace", "service", "slice around it", "neighbour", "not in sight", "version 1"],
)
def test_free_memory_is_what_the_cgroups_around_the_process_leave(
    monkeypatch, tmp_path, own, files, expected
):
    for folder, contents in files.items():
        for name, text in contents.items():
            controller, _, file = name.rpartition("/")
            place = tmp_path / controller / folder / file
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {NODE >> 10} kB\n")
    (tmp_path / "own").write_text(f"{own}\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(cgroups, "OWN", tmp_path / "own")
    assert free_memory() == expected


def test_free_memory_without_proc_is_the_whole_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "absent")
    monkeypatch.setattr(cgroups, "OWN", tmp_path / "absent")
    assert free_memory() == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
