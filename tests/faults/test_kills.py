"""kill -9 at every stage of the real loop and between them: it ends as if undisturbed.

`python -m tests.faults` does the same at many more moments; see docs/reliability.md.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.faults.lives import Life, begin, chosen, make_tables, small_recipe

pytestmark = pytest.mark.slow

SEED = 20


def test_killed_in_every_stage_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    recipe = small_recipe()
    whole, killed = (Life(tmp_path / name, recipe) for name in ("whole", "killed"))
    make_tables(whole.folder)
    whole.store.mkdir()
    shutil.copy(whole.folder / "mlflow.db", whole.store)
    whole.finish()
    begin(whole, killed)

    rng = random.Random(SEED)
    moments = [each for each in whole.moments() if "stages/prepare" not in each]
    ahead = chosen(moments, rng, each=1)
    killed.live_through(ahead, rng)
    killed.finish()

    assert len(killed.killed) >= 10
    assert killed.outcome() == whole.outcome()
