"""A run stopped by its budget, with real steps: continued, it is the run without a stop."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lidr.components.shared.store.open import open_store
from tests.e2e.runs import command, run_command
from tests.faults.contents import contents
from tests.layers import layer
from tests.receivers import receiving
from tests.usages import plant_usage

pytestmark = [pytest.mark.slow, pytest.mark.long]

SETTINGS = (
    "toy.evaluation_items=60",
    "prompts.per_iteration=100",
    "gate.tolerance=1.0",
    "gate.max_off_target=1.0",
    "pairing.reward.on_stop=train",
)
"""M_0 as it is shipped: of a smaller one the first iteration makes nothing better, and it ends."""


def run(store: Path, url: str = "", **profile: object) -> dict:
    place = layer(store.parent, notify={}, **profile)
    given = [word for each in SETTINGS for word in ("--set", each)]
    layers = ("--profile", "local", "--profile", place)
    words = command(store, "--run", "small", "--output", "json", *layers, *given)
    done = run_command(words, store.parent, LIDR_NOTIFY_URL=url)
    assert done.returncode == 0, done.stderr
    result: dict = json.loads(done.stdout)
    return result


def test_run_stopped_by_its_budget_and_continued_is_equal_to_one_without(tmp_path: Path):
    """Of the planted hours M_0 has taken one, M_1 three."""
    stopped, free = tmp_path / "stopped" / "store", tmp_path / "free" / "store"
    for folder in (stopped, free):
        folder.parent.mkdir()
    home = open_store(str(stopped))
    plant_usage(home, "small", 0, hours=1.0, step="evaluate")
    plant_usage(home, "small", 1, hours=3.0)
    with receiving() as receiver:
        first = run(stopped, receiver.url, budget={"gpu_hours": 6.5})
        assert first["stopped"]["iteration"] == 2
        assert first["used"]["gpu_hours"] == 4.0
        assert [each["iteration"] for each in first["iterations"]] == [0, 1]
        page = (stopped / "runs" / "small" / "overview.html").read_text()
        assert "M₂ was not made: it would exceed the budget" in page
        again = run(stopped, receiver.url, budget={"gpu_hours": 7.0})
        assert again["stopped"] is None
    run(free)
    assert contents(stopped, "small") == contents(free, "small")
    told = receiver.texts
    assert len(told) == 2
    assert told[0].startswith("lidr: run small has stopped.") and "budget.gpu_hours" in told[0]
    assert "M_2: " in told[1]
