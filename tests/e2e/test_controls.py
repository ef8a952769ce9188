"""The controls of docs/controls.md are options of the recipe."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.runs import SMALL, command

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "setting", ["pairing.swap=true", "training.nll_weight=0", "training.dpo_weight=0"]
)
def test_controls_are_options_of_the_recipe(setting: str, controls_store: Path) -> None:
    store = controls_store
    done = subprocess.run(
        [
            *command(store, "--run", setting.partition("=")[0].replace(".", "-")),
            *[
                part
                for item in [*SMALL, setting, "gate.max_iterations=1"]
                for part in ("--set", item)
            ],
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def controls_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for the controls: they share M_0, its answers and their translations."""
    return tmp_path_factory.mktemp("controls")
