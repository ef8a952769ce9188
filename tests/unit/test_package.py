"""An installed lidr must hold every file that its code reads."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = {".py", ".pyc"}


def test_every_file_beside_the_code_is_part_of_the_package():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package, patterns in declared["package-data"].items():
        folder = ROOT / package.replace(".", "/")
        packed = {path for pattern in patterns for path in folder.glob(pattern)}
        needed = {
            path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in LEFT_OUT and path.name != "README.md"
        }
        assert needed - packed == set()
