"""Runs the trainer program in several ranks, as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage
from tests.unit.train.stages import model_stage, pair_stage, preference, recipe

PAIRS = [preference(number, "es" if number % 2 else "en") for number in range(18)]


def job(
    root: Path,
    reference_seed: int = 0,
    zero: dict[str, Any] | None = None,
    machine: dict[str, Any] | None = None,
    **training: object,
) -> dict[str, Any]:
    """Return a job in a store of its own: batches of 8, 8 and 2 pairs, 4 a pass."""
    settings = Recipe.model_validate_json(recipe(**training)).training
    return {
        "store": str(root),
        "stage": "stages/train/abc",
        "pairs": pair_stage(root, PAIRS),
        "start": model_stage(root),
        "reference": model_stage(root, reference_seed),
        "training": settings.model_dump(mode="json"),
        "seed": 1,
        "machine": {"micro_batch_size": 4, **(machine or {})},
        "zero": zero or {},
    }


def torchrun(*flags: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--max-restarts", "0", *flags]


def environment(**variables: str) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "LIDR_RANKS_TIMEOUT": "60",
        "TOKENIZERS_PARALLELISM": "false",
        **variables,
    }


def start(
    given: dict[str, Any], ranks: int = 2, program: str = "lidr.components.train.trainer"
) -> subprocess.Popen[str]:
    """Start a gang on this machine."""
    root = Path(given["store"])
    (root / "job.json").write_text(json.dumps(given))
    flags = ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    flags += ["--nproc-per-node", str(ranks), "--module", program]
    return subprocess.Popen(
        [*torchrun(*flags), str(root / "job.json"), str(root / "summary.json")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(given: dict[str, Any], ranks: int = 2) -> dict[str, Any]:
    """Run a gang to its end; return the summary."""
    process = start(given, ranks)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return json.loads((Path(given["store"]) / "summary.json").read_text())


def stage_of(given: dict[str, Any]) -> Stage:
    return Stage(LocalStore(Path(given["store"])), given["stage"])


def rows(given: dict[str, Any]) -> list[dict[str, float]]:
    lines = stage_of(given).store.read(stage_of(given).key("metrics.jsonl")).splitlines()
    return [{**json.loads(line), "tokens_per_second": 0} for line in lines]
