"""What the cases of a long run have in common: an undisturbed run, and lives to compare with it."""

from __future__ import annotations

import random
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.lives import Life, begin, make_tables, small_recipe


@dataclass
class Bench:
    """The undisturbed run, and a folder for the others.

    Attributes:
        folder: that all of it is in.
        seed: that every choice follows from.
    """

    folder: Path
    seed: int

    def __post_init__(self) -> None:
        self.recipe = small_recipe()
        make_tables(self.folder / "whole")
        self.whole = Life(self.folder / "whole", self.recipe)
        self.whole.store.mkdir(exist_ok=True)
        shutil.copy(self.folder / "whole" / "mlflow.db", self.whole.store)
        self.whole.finish()
        self.outcome = self.whole.outcome()

    def rng(self, case: str) -> random.Random:
        """Return the source of a case's choices."""
        return random.Random(f"{self.seed} {case}")

    def life(self, name: str, *, fresh: bool = False, **named: object) -> Life:
        """Return a run on a store of its own, with the world of the undisturbed one.

        Args:
            name: of its folder.
            fresh: begin with nothing instead.
            named: further fields of the run.
        """
        life = Life(self.folder / name, self.recipe, **named)
        life.folder.mkdir(parents=True)
        return life if fresh else begin(self.whole, life)

    def require_same(self, life: Life) -> None:
        """Refuse a run that made anything else than the undisturbed one."""
        found = life.outcome()
        other = sorted(
            key for key in {*found, *self.outcome} if found.get(key) != self.outcome.get(key)
        )
        assert not other, f"not as undisturbed: {other}"


def holds(check: Callable[[], None]) -> str:
    """Run a check; return "" or what went wrong, in one line."""
    try:
        check()
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
    return ""
