"""How the end-to-end tests call `lidr run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.kfp_forks import ROOT, lay
from tests.layers import layer

WARM = (
    "mlflow.store.tracking.sqlalchemy_store",
    "lidr.components.evaluate.harness",
    "lidr.components.register.run",
    "lidr.components.report.run",
    "lidr.components.shared.forward.logps",
    "lidr.components.toy.pretrain",
    "lidr.components.train.assembly",
)
"""What takes tasks long to import: they are forks of a driver that has done it."""

SMALL = [
    "toy.solutions=400",
    "toy.weak_solutions=100",
    "toy.translations=60",
    "toy.evaluation_items=20",
    "prompts.per_iteration=24",
    "generation.chunk_size=8",
    "translation.round_trip_sample=4",
    "gate.tolerance=1.0",
    "pairing.reward.on_stop=train",
]
"""Sizes at which M_0 learns too little to be trusted, but every step does real work."""


def command(store: Path, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "lidr.pipelines.cli",
        "run",
        "tiny_world",
        "--store",
        str(store),
        *options,
    ]


def small(store: Path, *settings: str, **machine: object) -> list[str]:
    sets = [part for item in [*SMALL, *settings] for part in ("--set", item)]
    place = layer(store.parent, training={"checkpoint_steps": 2}, **machine)
    layers = ("--profile", "local", "--profile", place)
    return command(store, "--run", "small", "--output", "json", *layers, *sets)


def run_forked(
    command: list[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `lidr run` with forks as tasks; see `kfp_forks`.

    Args:
        command: that runs it.
        folder: where it runs and finds its driver; none may have a folder `lidr`.
        variables: further environment variables.
    """
    overlay = folder / "overlay"
    if not overlay.exists():
        lay(overlay, *WARM)
    path = os.pathsep.join([str(overlay), str(ROOT)])
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": path, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )


def result_of(store: Path, run: str) -> dict:
    return json.loads((store / "runs" / run / "result.json").read_text())
