"""The cgroups around this process: a limit of theirs may be a small part of the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def cgroup_folders(controller: str) -> Iterator[Path]:
    """Yield the folders of a hierarchy's root and of the cgroups around this process.

    A container may see only the root, which is then its own cgroup: the other folders do not exist.

    Args:
        controller: of version 1 of cgroups, such as `memory`; "" for version 2, which has one
            hierarchy without a name (cgroups(7)).
    """
    folder = ROOT / controller
    yield folder
    lines: list[str] = []
    with suppress(OSError):  # no /proc
        lines = OWN.read_text("utf-8", "surrogateescape").splitlines()
    for line in lines:  # "4:cpu,memory:/slurm/job_7", in version 2 "0::/system.slice/a.service"
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            for part in Path(path.lstrip("/")).parts:
                folder /= part
                yield folder
