from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_list_of_packages(monkeypatch):
    """Spare each run of the harness the 0.4 s in which it asks pip what is installed."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
