"""What every test has in common."""

from __future__ import annotations

import os

import pytest

from lidr.components.shared.config.machine import MACHINE

os.environ.setdefault("LIDR_RETRY_SECONDS", "5")  # a test that meets a dead service ends


@pytest.fixture(autouse=True)
def _no_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test be told of a machine, nor leave one to the next."""
    monkeypatch.setenv(MACHINE, "")
