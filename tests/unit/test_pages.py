"""Pages name files; a file that moved takes its name in the pages with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("components", "docs", "images", "manifests", "pipelines")
PAGES = [
    ROOT / "README.md",
    *(page for name in FOLDERS for page in sorted((ROOT / name).rglob("*.md"))),
]

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_MODULE = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py)(?:::\w+)?`")


def named(page: Path) -> Iterator[str]:
    """Yield what a page names that is not there."""
    text = page.read_text("utf-8")
    for target in _LINK.findall(text):
        if "://" not in target and not (page.parent / target).exists():
            yield target
    for module in _MODULE.findall(text):
        near = (page.parent / module, ROOT / module, ROOT / "tests" / module)
        if not any(path.exists() for path in near) and not any(ROOT.glob(f"[a-z]*/**/{module}")):
            yield module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_only_files_that_are_there(page: Path):
    assert list(named(page)) == []


def test_a_file_that_moved_is_noticed(tmp_path: Path):
    page = tmp_path / "README.md"
    page.write_text("[old](gone/README.md), `gone_for_good.py`, `run.py`, [here](README.md)")
    assert list(named(page)) == ["gone/README.md", "gone_for_good.py"]
