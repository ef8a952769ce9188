"""docs/security.md: whatever it says is held by a test or a manifest is, by one that exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.yaml_text import read_documents

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text("utf-8")

LAST = re.compile(r"\|([^|]*)\|$")
NAMED = re.compile(r"`([^`]+)`")


def rows() -> list[str]:
    """Return the rows of every table whose last column says what holds it."""
    found, held = [], False
    for line in TEXT.splitlines():
        if not line.startswith("|"):
            held = False
        elif line.endswith("| held by |"):
            held = True
        elif held and not line.startswith("|---"):
            found.append(line)
    return found


def names(row: str) -> list[str]:
    return NAMED.findall(LAST.search(row)[1])


NAMES = sorted({name for row in rows() for name in names(row)})


@cache
def functions_in(file: Path) -> set[str]:
    body = ast.parse(file.read_text("utf-8")).body
    return {each.name for each in body if isinstance(each, ast.FunctionDef)}


@cache
def objects_in(file: Path) -> set[str]:
    documents = read_documents(file.read_text("utf-8"))
    return {f"{each['kind']}/{each['metadata']['name']}" for each in documents if each}


def exists(name: str) -> bool:
    if "::" in name:
        file, _, function = name.partition("::")
        path = ROOT / "tests" / file
        return function.startswith("test_") and path.is_file() and function in functions_in(path)
    file, found, item = name.partition("#")
    path = ROOT / file
    return bool(found) and path.is_file() and item in objects_in(path)


def test_every_line_is_held_by_something():
    assert len(rows()) > 35
    assert [row for row in rows() if not names(row)] == []


@pytest.mark.parametrize("name", NAMES)
def test_what_holds_it_exists(name: str):
    assert exists(name)


@pytest.mark.parametrize(
    "name",
    [
        "unit/shared/test_places.py::test_that_is_not_there",
        "unit/shared/test_gone.py::test_no_name_becomes_a_path",
        "unit/shared/test_places.py::store",
        "manifests/base/roles.yaml#Role/lidr-other",
        "manifests/base/gone.yaml#Role/lidr-launcher",
        "manifests/base/roles.yaml",
    ],
)
def test_what_does_not_exist_is_seen(name: str):
    assert not exists(name)


@pytest.mark.parametrize("role", ["submitter", "pipeline's pods", "training pods", "promoter"])
def test_everybody_is_in_it(role: str):
    assert any(row.startswith(f"| {role} |") for row in rows())


@pytest.mark.parametrize(
    "who",
    ["prompt set", "model repository", "tracking server", "judge endpoint", "neighbour", "tenant"],
)
def test_every_attacker_is_in_it(who: str):
    assert any(row.startswith(f"| {who}") for row in rows())
