"""Predictions of `lidr plan` against what runs took: one calibrates it, the others are predicted.

Every run is the tiny world, started as a user starts it, on a store of its own so that it shares
nothing with another. They differ in prompts, evaluation items and iterations.

The last line is JSON. `largest_error` is that of a whole run's wall time, relative to the measured
one; `runs` has each run's predicted and measured seconds, `stages` the same by stage.

Usage: python -m benchmarks.planning [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lidr.components.shared.store.open import open_store

_RUN = "planned"


@dataclass(frozen=True)
class Size:
    """What one run works on.

    Attributes:
        prompts: of one iteration.
        items: of the evaluation, per language.
        iterations: at most; the gate may stop the run earlier.
    """

    prompts: int
    items: int
    iterations: int

    @property
    def name(self) -> str:
        """Short and unique."""
        return f"{self.prompts}-{self.items}-{self.iterations}"

    @property
    def settings(self) -> list[str]:
        """Settings of the recipe, as `--set` takes them."""
        return [
            f"prompts.per_iteration={self.prompts}",
            f"evaluation.limit={self.items}",
            f"gate.max_iterations={self.iterations}",
        ]


BASE = Size(200, 100, 1)
OTHERS = (Size(100, 200, 1), Size(600, 50, 1), Size(300, 200, 2))


@dataclass(frozen=True)
class Measured:
    """A run that has ended.

    Attributes:
        store: that it is on.
        seconds: of its command, from start to end.
        stages: seconds by stage, all iterations together.
    """

    store: Path
    seconds: float
    stages: dict[str, float]


def run(size: Size, folder: Path) -> Measured:
    """Run the tiny world at a size."""
    store = folder / size.name
    began = time.monotonic()
    _lidr("run", "tiny_world", "--store", str(store), "--run", _RUN, *_set(size))
    seconds = time.monotonic() - began
    home, stages = open_store(str(store)), defaultdict[str, float](float)
    for entry in home.list("stages"):
        if entry.key.endswith("/_SUCCESS"):
            step = entry.key.split("/")[1]
            stages[step] += json.loads(home.read(entry.key))["seconds"]
    return Measured(store, seconds, dict(stages))


def planned(size: Size, calibration: Path) -> dict[str, Any]:
    """Return what `lidr plan` says of a run."""
    given = ("--profile", "local", "--calibration", str(calibration), "--output", "json")
    said: dict[str, Any] = json.loads(_lidr("plan", "tiny_world", *given, *_set(size)))
    return said


def main() -> None:
    """Run, calibrate, predict and print."""
    parser = argparse.ArgumentParser(description="Predictions of lidr plan against runs.")
    parser.add_argument("--folder", type=Path, help="keep the stores here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        base = run(BASE, folder)
        print(f"{BASE}: {base.seconds:.0f} s, calibrates", flush=True)
        calibration = folder / "calibration.json"
        calibration.write_text(_lidr("plan", "--calibrate", str(base.store), _RUN))
        found = [_compared(size, folder) for size in OTHERS]
    largest = max(abs(each["predicted"] / each["measured"] - 1) for each in found)
    print(json.dumps({"largest_error": round(largest, 4), "runs": found}))


def _compared(size: Size, folder: Path) -> dict[str, Any]:
    plan = planned(size, folder / "calibration.json")
    measured = run(size, folder)
    between = json.loads((folder / "calibration.json").read_text())["between"]
    stages = {
        each["stage"]: [
            round(each["seconds"] - between * each["times"], 1),
            round(measured.stages[each["stage"]], 1),
        ]
        for each in plan["stages"]
        if each["stage"] in measured.stages
    }
    predicted = plan["total"]["seconds"]
    print(f"{size}: {predicted:.0f} s predicted, {measured.seconds:.0f} s measured", flush=True)
    for stage, (one, other) in stages.items():
        print(f"    {stage}: {one} s predicted, {other} s measured", flush=True)
    return {
        "size": size.name,
        "predicted": round(predicted, 1),
        "measured": round(measured.seconds, 1),
        "stages": stages,
    }


def _set(size: Size) -> list[str]:
    return [word for each in size.settings for word in ("--set", each)]


def _lidr(*arguments: str) -> str:
    command = [sys.executable, "-m", "lidr.pipelines.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
