"""Runs the trainer program in several ranks, under torchrun's agent."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.store.local import LocalStore
from lidr.components.shared.store.stage import Stage
from tests.unit.train.stages import model_stage, pair_stage, preference, recipe
from tests.warm import python

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
    return [python(), "-m", "torch.distributed.run", "--max-restarts", "0", *flags]


def environment(**variables: str) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "LIDR_RANKS_TIMEOUT": "60",
        "TOKENIZERS_PARALLELISM": "false",
        **variables,
    }


def run_ranks(
    given: dict[str, Any], ranks: int = 2, program: str = "lidr.components.train.trainer"
) -> tuple[str, int]:
    """Run several ranks of a program to their end; return what all said, and torchrun's exit code.

    Args:
        given: the job.
        ranks: how many.
        program: a module that takes the job's file and the summary's.
    """
    root = Path(given["store"])
    (root / "job.json").write_text(json.dumps(given))
    files = [str(root / name) for name in ("job.json", "summary.json")]
    command = torchrun("--standalone", "--nproc-per-node", str(ranks), "--module", program, *files)
    done = subprocess.run(
        command,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=240,
    )
    return done.stdout, done.returncode


def run(given: dict[str, Any], ranks: int = 2) -> dict[str, Any]:
    """Run several ranks to their end; return the summary."""
    said, code = run_ranks(given, ranks)
    assert code == 0, said
    return json.loads((Path(given["store"]) / "summary.json").read_text())


def stage_of(given: dict[str, Any]) -> Stage:
    return Stage(LocalStore(Path(given["store"])), given["stage"])


def rows(given: dict[str, Any]) -> list[dict[str, float]]:
    lines = stage_of(given).store.read(stage_of(given).key("metrics.jsonl")).splitlines()
    return [{**json.loads(line), "tokens_per_second": 0} for line in lines]
