"""docs/paper.md says what `lidr plan` says."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import paper


def test_the_page_has_the_plans_of_today(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["paper", "--check"])
    with pytest.raises(SystemExit) as ended:
        paper.main()
    told = json.loads(capsys.readouterr().out)
    assert (ended.value.code, told["rows"]) == (0, 12), "run python -m benchmarks.paper"
    assert all(plan["fits"] for plan in told["plans"])
