"""How the end-to-end tests call `lidr run`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.layers import layer

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


def result_of(store: Path, run: str) -> dict:
    return json.loads((store / "runs" / run / "result.json").read_text())
