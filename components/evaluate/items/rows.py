"""Items of benchmarks in files: JSON Lines, a JSON array, TSV (question, answer) or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import encodable

Row = dict[str, Any]

SUFFIXES = (".jsonl", ".json", ".tsv", ".parquet")

_COLUMNS = "question", "answer"


def read_rows(path: Path) -> list[tuple[int, Row]]:
    """Return the rows of a file, each with its line number (in Parquet and JSON arrays, its index).

    Raises:
        BadInput: the file is missing, empty or not of a known kind, or a line is broken.
    """
    readers = {".jsonl": _json_lines, ".json": _array, ".tsv": _tsv, ".parquet": _parquet}
    reader = readers.get(path.suffix)
    if reader is None:
        raise BadInput(
            "not a file of items", file=path, remedy=f"Give one that ends in {', '.join(SUFFIXES)}."
        )
    try:
        rows = [(line, encodable(row)) for line, row in reader(path)]
    except FileNotFoundError as error:
        raise BadInput("no such file", file=path, remedy="Check evaluation.data.") from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=path) from error
    if not rows:
        raise BadInput("holds no items", file=path, remedy="Give a file with items.")
    return rows


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise BadInput("not UTF-8", file=path, line=line, remedy="Save it as UTF-8.") from error


def _json_lines(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            yield number, _object(line, path, number)


def _object(text: str, path: Path, line: int) -> Row:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"not JSON: {error}", file=path, line=line, remedy="Fix or remove the line."
        ) from error
    if not isinstance(row, dict):
        raise BadInput("not an object", file=path, line=line, remedy='Write {"question": ...}.')
    return row


def _array(path: Path) -> Iterator[tuple[int, Row]]:
    try:
        rows = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"not JSON: {error}", file=path, remedy="Fix the file.") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise BadInput("not an array of objects", file=path, remedy="Give JSON Lines instead.")
    yield from enumerate(rows, 1)


def _tsv(path: Path) -> Iterator[tuple[int, Row]]:
    stream = io.StringIO(_text(path))
    reader = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
    for row in reader:
        if len(row) != len(_COLUMNS):
            raise BadInput(
                f"{len(row)} columns instead of question and answer",
                file=path,
                line=reader.line_num,
                remedy="Fix or remove the line.",
            )
        yield reader.line_num, dict(zip(_COLUMNS, row, strict=True))


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
