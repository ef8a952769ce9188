from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import lm_eval.tasks
import pytest
from lm_eval.tasks._index import Entry, TaskIndex

HARNESS = Path(lm_eval.tasks.__file__).parent
build = TaskIndex.build


@pytest.fixture(autouse=True)
def no_list_of_packages(monkeypatch):
    """Spare each run of the harness the 0.4 s in which it asks pip what is installed."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)


@cache
def harness_index() -> dict[str, Entry]:
    """Return the harness's own index, which takes 10 s to read."""
    return build([HARNESS])


@pytest.fixture(autouse=True, scope="session")
def one_index():
    """Read the harness's own files once, and hand out copies."""

    def built(paths, **_):
        roots = list(paths)
        own = harness_index() if HARNESS in roots else {}
        copies = {name: replace(e, cfg=dict(e.cfg or {})) for name, e in own.items()}
        return copies | build([root for root in roots if root != HARNESS])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskIndex, "build", staticmethod(built))
        yield
