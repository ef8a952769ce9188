"""Whether lidr handles each family's shape exactly: the zoo of `tests/zoo`, as a table.

A row a shape: `exact` where every property holds, `refused` with the reason where M_0's import
refuses it, else `wrong` with each property that does not hold. The last line is JSON: how many
`shapes`, how many of them `exact`, `refused` and `wrong`.

Usage: python -m benchmarks.zoo [--shapes llama-3 gpt-oss]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from traceback import extract_tb
from typing import Any

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import EVENTS_VARIABLE

_KINDS = ("exact", "refused", "wrong")


def main() -> None:
    """Ask everything of every shape, print the table, and fail where a shape is wrong."""
    parser = argparse.ArgumentParser(description="the zoo of model shapes.")
    parser.add_argument("--shapes", nargs="+", default=[], help="names to keep")
    options = parser.parse_args()
    os.environ.setdefault(EVENTS_VARIABLE, os.devnull)
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    from tests.zoo.shapes import SHAPES

    kept = [shape for shape in SHAPES if not options.shapes or shape.name in options.shapes]
    width = max(len(shape.name) for shape in kept)
    counts: Counter[str] = Counter()
    for shape in kept:
        kind, reasons = _judged(shape)
        counts[kind] += 1
        print(f"{shape.name:{width}}  {kind:7}  {'; '.join(reasons)}".rstrip(), flush=True)
    print(json.dumps({"shapes": len(kept), **{kind: counts[kind] for kind in _KINDS}}))
    raise SystemExit(bool(counts["wrong"]))


def _judged(shape: Any) -> tuple[str, list[str]]:
    """Return how a shape is handled, and why."""
    from tests.zoo.pen import Pen
    from tests.zoo.properties import PROPERTIES

    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stderr(io.StringIO()):
        pen = Pen(shape, Path(name))
        try:
            _ = pen.inputs
        except BadInput as error:
            return "refused", [error.message]
        faults = [f"{each}: {fault}" for each in PROPERTIES if (fault := _fault(pen, each))]
        return ("wrong", faults) if faults else ("exact", [])


def _fault(pen: Any, name: str) -> str:
    """Return in one line why a property does not hold, "" where it does."""
    from tests.zoo.properties import PROPERTIES

    try:
        PROPERTIES[name](pen)
    except Exception as error:  # whatever is raised is what is wrong
        text = str(error) or extract_tb(error.__traceback__)[-1].line or ""
        return f"{type(error).__name__} {text}".partition("\n")[0]
    return ""


if __name__ == "__main__":
    main()
