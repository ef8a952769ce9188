"""Training in two processes against one: scaling, what checkpoints cost, where the start-up goes.

A random 4M-parameter Llama, pairs with log-normal lengths (benchmarks/training.py), 16 in a step
(of fewer, the longest alone can be most of the work), one thread per process. One process runs
without DeepSpeed, two run under torchrun with ZeRO-2 over gloo.

- `scaling_efficiency`: tokens per second of two processes over twice those of one, the median over
  the steps, which hold the same pairs on both sides. Compare on a machine with two idle cores.
- `checkpoint_stall`: share of the training time that two processes stand still for checkpoints at
  the recipe's default of one in 50 steps, from the measured stall of a checkpoint and the measured
  step. `checkpoint_stall_measured` is the plain share in this run, with one every CHECKPOINT steps.
- `startup_seconds`: from the start of torchrun to the first step, by part.

Usage: python -m benchmarks.training_scale [--steps 8]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.training import LENGTH, Shape, draw_pair, write_model, write_pairs
from lidr.components.shared.config.machine import TrainingSettings
from lidr.components.shared.config.profile import Zero
from lidr.components.shared.config.training import Training
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.store.local import LocalStore
from lidr.components.train.job import TrainingJob

SHAPE = Shape(vocabulary=2_000, width=256, layers=4)
BATCH = 16
CHECKPOINT = 4
_DEFAULT = TrainingSettings().checkpoint_steps

Run = dict[str, Any]


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(description="training in two processes against one.")
    parser.add_argument("--steps", type=int, default=8, help=f"optimizer steps of {BATCH} pairs")
    options = parser.parse_args()
    os.environ.setdefault(EVENTS_VARIABLE, os.devnull)
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = random.Random(0)
        store = LocalStore(folder / "store")
        model = write_model(store, folder / "model", SHAPE)
        drawn = [
            draw_pair(rng, number, SHAPE.vocabulary) for number in range(options.steps * BATCH)
        ]
        pairs = write_pairs(store, drawn)
        one, two = (_train(folder / str(ranks), model, pairs, ranks) for ranks in (1, 2))
    for ranks, run in ((1, one), (2, two)):
        print(f"{ranks} process(es): {run['counts']}", flush=True)
    print(json.dumps(_figures(one, two)))


def _train(folder: Path, model: str, pairs: str, ranks: int) -> Run:
    folder.mkdir()
    settings = Training(batch_size=BATCH, max_length=LENGTH)
    job = TrainingJob(
        store=str(folder / "store"),
        stage="stages/train/benchmark",
        pairs=pairs,
        start=model,
        reference=model,
        training=settings,
        seed=0,
        machine=TrainingSettings(checkpoint_steps=CHECKPOINT),
        zero=Zero(stage=2 if ranks > 1 else 0),
    )
    (folder / "job.json").write_text(job.model_dump_json())
    program = ["-m", "lidr.components.train.trainer"]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    files = [str(folder / "job.json"), str(folder / "summary.json")]
    began = time.monotonic()
    subprocess.run([sys.executable, *(launcher if ranks > 1 else []), *program, *files], check=True)
    wall = time.monotonic() - began
    counts = json.loads((folder / "summary.json").read_text())["counts"]
    metrics = folder / "store" / job.stage / "metrics.jsonl"
    speeds = [json.loads(line)["tokens_per_second"] for line in metrics.read_text().splitlines()]
    return {"counts": counts, "wall": wall, "speeds": speeds}


def _figures(one: Run, two: Run) -> dict[str, Any]:
    counts = two["counts"]
    stall, trained = counts["checkpoint_seconds"], counts["train_seconds"]
    saves = -(-counts["steps"] // CHECKPOINT)
    step = (trained - stall) / counts["steps"]
    ratios = [b / a / 2 for a, b in zip(one["speeds"], two["speeds"], strict=True)]
    outside = two["wall"] - counts["seconds"]
    return {
        "scaling_efficiency": round(median(ratios), 3),
        "checkpoint_stall": round(stall / saves / (_DEFAULT * step), 4),
        "checkpoint_stall_measured": round(stall / trained, 4),
        "startup_seconds": {"processes": round(outside, 1), **counts["startup_seconds"]},
    }


if __name__ == "__main__":
    main()
