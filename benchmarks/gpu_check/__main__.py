"""Measure this machine's GPU in one run, and write what was found as JSON and as a table.

- the card: a product of bfloat16 matrices, of which MFU is a share.
- agreement: loss and gradients of flat rows on the card against plain passes on a CPU in float32.
- training: the train step, the same pairs in padded batches, TRL; a whole model of Llama-3.2-1B's
  shape, and four layers of Llama-3-8B's with its embeddings and head: with adapters, in full, in
  full with the optimizer's state offloaded.
- generation: the transformers engine, and vLLM.

It needs torch, transformers, peft, accelerate, safetensors, pydantic and pyarrow, and no network.
Rows that need trl, deepspeed or vllm say so where those are absent. On a GPU (the first, where
there are several) each row is a process of its own, so that a failure costs that row alone, and
rows for which no time is left are named.
`--shape tiny` runs the same on a CPU in a minute: a test of this program, no figure.

Exit status: 0; 1 where the card computes something else than a CPU, or a row failed.

Usage: python -m benchmarks.gpu_check [--shape card] [--minutes 8] [--output benchmarks/results]
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.shapes import SHAPES, Result, Shape
from benchmarks.gpu_check.table import markdown, with_shares
from lidr.components.shared.core.events import EVENTS_VARIABLE
from lidr.components.shared.core.gpu import gpu_present

_LEAST_SECONDS = 15.0
"""Below that no row is begun."""

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "trl", "deepspeed", "vllm")

_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
}


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        what: it is, for the table; "" for preparation, which stands in none.
        shape: of the model, by name.
        part: `module.function` of this package.
        way: arguments of `Way`, for training.
        needs: library without which it is left out.
    """

    what: str
    shape: str
    part: str
    way: tuple[tuple[str, bool], ...] = ()
    needs: str = ""


_LORA, _FULL, _OFFLOAD = (("lora", True),), (("lora", False),), (("offload", True),)


def rows_of(small: str, wide: str) -> list[Row]:
    """Return the rows, the most important first.

    Args:
        small: name of the shape that is trained and generated with whole.
        wide: of the one with layers as wide as a large model's.
    """
    return [
        Row("matrix product, bfloat16", small, "card.matrix_product"),
        Row("flat rows against a CPU", small, "card.agreement"),
        Row("", small, "shapes.prepare"),
        Row(f"{small}, full: train step", small, "training.flat", _FULL),
        Row(f"{small}, full: padded batches", small, "rivals.padded", _FULL),
        Row("", wide, "shapes.prepare"),
        Row(f"{wide} layers, LoRA: train step", wide, "training.flat", _LORA),
        Row(f"{wide} layers, LoRA: padded batches", wide, "rivals.padded", _LORA),
        Row(f"{wide} layers, full: train step", wide, "training.flat", _FULL),
        Row(f"{wide} layers, full, offload: train step", wide, "training.flat", _OFFLOAD,
            needs="deepspeed"),
        Row(f"{small}, generation: transformers", small, "generation.transformers"),
        Row(f"{small}, generation: vLLM", small, "generation.vllm", needs="vllm"),
        Row(f"{small}, full: TRL", small, "rivals.trl", _FULL, needs="trl"),
        Row(f"{wide} layers, LoRA: TRL", wide, "rivals.trl", _LORA, needs="trl"),
    ]  # fmt: skip


ROWS = {"card": rows_of("1b", "8b"), "tiny": rows_of("tiny", "tiny")}


def main() -> int:
    """Measure all rows, print them as they come, and write them into a folder."""
    parser = argparse.ArgumentParser(description="what training and generation do on this GPU.")
    parser.add_argument("--shape", choices=ROWS, default="card", help="tiny tests this program")
    parser.add_argument("--minutes", type=float, default=8.0, help="for the whole of it")
    parser.add_argument("--output", type=Path, help="folder for the figures")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault(EVENTS_VARIABLE, os.devnull)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if options.row:
        number, folder = options.row
        row = ROWS[options.shape][int(number)]
        print(json.dumps(_measured(row, Path(folder))), file=sys.__stdout__)
        return 0
    if not gpu_present() and options.shape != "tiny":
        print("no GPU here; --shape tiny tests this program without one", file=sys.stderr)
        return 2
    figures = _figures(options.shape, 60 * options.minutes)
    page = markdown(figures)
    print(f"\n{page}")
    if options.output:
        _write(figures, page, options.output)
    return int(not _is_well(figures))


def _figures(shape: str, seconds: float) -> Result:
    began = time.monotonic()
    rows = []
    for row in _rows(shape, began + seconds):
        rows.append(row)
        print(json.dumps(row), flush=True)
    card = next((row["card"] for row in rows if "card" in row), "unknown")
    return {
        "card": card,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "shape": shape,
        "seconds": round(time.monotonic() - began, 1),
        "rows": with_shares(rows),
    }


def _rows(shape: str, deadline: float) -> Iterator[Result]:
    """Yield the result of each row; what one fails with is its outcome."""
    with tempfile.TemporaryDirectory(prefix="lidr-gpu-check-") as scratch:
        for number, row in enumerate(ROWS[shape]):
            result = _run(shape, number, Path(scratch), deadline)
            if row.what or result["outcome"] != "measured":
                yield {"what": row.what or f"{row.shape}: preparation", **result}


def _run(shape: str, number: int, scratch: Path, deadline: float) -> Result:
    row = ROWS[shape][number]
    if row.needs and find_spec(row.needs) is None:
        return {"outcome": f"{row.needs} is not installed"}
    left = deadline - time.monotonic()
    if left < _LEAST_SECONDS:
        return {"outcome": "no time was left"}
    folder = scratch / row.shape
    folder.mkdir(exist_ok=True)
    if not gpu_present() and not row.needs:  # these libraries leave their marks in a process
        return _measured(row, folder)
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--shape", shape]
    command += ["--row", str(number), str(folder)]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=left, env=_one_card()
        )
    except subprocess.TimeoutExpired:
        return {"outcome": f"was not done after {left:.0f} s, when no time was left"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"outcome": f"its process ended with {done.returncode}, see above"}
    result: Result = json.loads(lines[-1])
    return result


def _one_card() -> dict[str, str]:
    """Return the environment in which a process sees the first card alone."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    return {**os.environ, "CUDA_VISIBLE_DEVICES": named.split(",")[0]}


def _measured(row: Row, folder: Path) -> Result:
    """Run a row here; whatever goes wrong in it is told in its place, and the next one follows."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    module, _, name = row.part.rpartition(".")
    began = time.monotonic()
    try:
        measure: Any = getattr(importlib.import_module(f"benchmarks.gpu_check.{module}"), name)
        if row.way:
            measure = partial(measure, way=_way(row))
        shape: Shape = SHAPES[row.shape]
        result: Result = measure(folder, shape)
    except Exception as error:
        return {"outcome": f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {"outcome": "measured", **result, "row_seconds": round(time.monotonic() - began, 1)}


def _way(row: Row) -> Any:
    from benchmarks.gpu_check.training import Way

    return Way(**dict(row.way))


def _version(library: str) -> str:
    for name in (library, f"{library}-cpu"):
        with suppress(PackageNotFoundError):
            return version(name)
    return "absent"


def _is_well(figures: Result) -> bool:
    """Tell whether every row that could be measured was, and the card agrees with a CPU."""
    failed = ("failed", "its process", "was not done")
    return all(
        row.get("agrees", True) and not row["outcome"].startswith(failed) for row in figures["rows"]
    )


def _write(figures: Result, page: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", figures["card"]).strip("-").lower()
    (folder / f"gpu_check-{name}.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    (folder / f"gpu_check-{name}.md").write_text(page, "utf-8")


if __name__ == "__main__":
    sys.exit(main())
