"""How the end-to-end tests call `lidr run`."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.layers import layer
from tests.warm import python

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
        python(),
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


def run_command(
    command: list[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, with further environment variables."""
    return subprocess.run(
        command,
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
    )


def result_of(store: Path, run: str) -> dict:
    return json.loads((store / "runs" / run / "result.json").read_text())
