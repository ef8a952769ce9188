"""Items of benchmarks in files: JSON Lines, a JSON array, TSV (question, answer) or Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import encodable
from lidr.components.shared.inputs.files import json_rows

Row = dict[str, Any]

SUFFIXES = (".jsonl", ".json", ".tsv", ".parquet")

_COLUMNS = "question", "answer"


def read_rows(path: Path) -> list[tuple[int, Row]]:
    """Return the rows of a file, each with the line it starts in (in Parquet its number, from 1).

    Raises:
        BadInput: the file is missing, empty or not of a known kind, or a line is broken or nested
            too deeply.
    """
    readers = {".jsonl": _json, ".json": _json, ".tsv": _tsv, ".parquet": _parquet}
    reader = readers.get(path.suffix)
    if reader is None:
        raise BadInput(
            "not a file of items", file=path, remedy=f"Give one that ends in {', '.join(SUFFIXES)}."
        )
    try:
        rows = [(line, encodable(row)) for line, row in reader(path)]
    except RecursionError as error:
        raise BadInput("nested too deeply", file=path, remedy="Use plain objects.") from error
    except FileNotFoundError as error:
        raise BadInput("no such file", file=path, remedy="Check evaluation.data.") from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=path) from error
    if not rows:
        raise BadInput("holds no items", file=path, remedy="Give a file with items.")
    return rows


def _json(path: Path) -> Iterator[tuple[int, Row]]:
    return json_rows(str(path), path.read_bytes())


def _tsv(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a file without quotes; a first line that names the columns is none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        broken = error.object[: error.start].count(b"\n") + 1
        raise BadInput("not UTF-8", file=path, line=broken, remedy="Save it as UTF-8.") from error
    for number, line in enumerate(lines, 1):
        row = tuple(line.split("\t"))
        if row == ("",) or (number == 1 and row == _COLUMNS):
            continue
        if len(row) != len(_COLUMNS):
            raise BadInput(
                f"{len(row)} columns instead of question and answer",
                file=path,
                line=number,
                remedy="Fix or remove the line.",
            )
        yield number, dict(zip(_COLUMNS, row, strict=True))


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadInput(
            f"not a Parquet file that can be read: {error}", file=path, remedy="Write it again."
        ) from error
    yield from enumerate(rows, 1)
