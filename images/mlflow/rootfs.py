"""Copy the files that Python needs from this stage: `rootfs.py TARGET`.

Python is the only program that is copied. dpkg's list of packages is copied for scanners.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

_LINKS = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_FILES = (
    *("etc/group", "etc/localtime", "etc/mime.types", "etc/nsswitch.conf", "etc/os-release"),
    *("etc/ld.so.cache", "etc/passwd", "etc/ssl", "var/lib/dpkg/status"),
)
_LEFT_OUT = {
    *("/usr/games", "/usr/lib/apt", "/usr/lib/dpkg", "/usr/lib/systemd", "/usr/libexec"),
    *("/usr/lib/x86_64-linux-gnu/perl-base", "/usr/share/bash-completion", "/usr/share/doc"),
    *("/usr/share/locale", "/usr/share/man", "/usr/share/perl5", "/usr/share/python-wheels"),
    *("/usr/share/python3", "/usr/src"),
}
_PROGRAMS = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")


def main(target: Path) -> None:
    """Make the file system."""
    shutil.copytree("/usr", target / "usr", symlinks=True, ignore=_left_out)
    for name in _LINKS:
        if Path("/", name).is_symlink():
            (target / name).symlink_to(Path("/", name).readlink())
    for name in _FILES:
        _copy(Path("/", name), target / name)
    for name in ("tmp", "scratch"):
        (target / name).mkdir()
        (target / name).chmod(0o1777)


def _left_out(folder: str, names: list[str]) -> set[str]:
    if folder in _PROGRAMS:
        return {name for name in names if not name.startswith("python")}
    return {name for name in names if f"{folder}/{name}" in _LEFT_OUT}


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
