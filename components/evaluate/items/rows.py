"""Reads benchmark items from files: JSON Lines, a JSON array, TSV (question, answer) or Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import encodable
from lidr.components.shared.inputs.files import json_rows

Row = dict[str, Any]

SUFFIXES = (".jsonl", ".json", ".tsv", ".parquet")

QUESTIONS = ("question", "query", "problem")
ANSWERS = ("answer_number", "answer", "response")
"""Names that an item's question and its answer may have; the first one counts."""


def read_rows(path: Path) -> list[tuple[int, Row]]:
    """Return the rows of a file, each with the number of its first line, or of the row in Parquet.

    Raises:
        BadInput: the file is missing, cannot be read, is empty or not of a known kind, or a line is
            broken or nested too deeply.
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
        raise BadInput(
            f"cannot be read: {error.strerror}",
            file=path,
            remedy="Check that it is a file, and its permissions.",
        ) from error
    if not rows:
        raise BadInput("holds no items", file=path, remedy="Give a file with items.")
    return rows


def _json(path: Path) -> Iterator[tuple[int, Row]]:
    return json_rows(str(path), path.read_bytes())


def _tsv(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a TSV. Quotes are plain characters; a header line is skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        broken = error.object[: error.start].count(b"\n") + 1
        raise BadInput("not UTF-8", file=path, line=broken, remedy="Save it as UTF-8.") from error
    for number, line in enumerate(lines, 1):
        row = line.split("\t")
        if not line.strip() or (number == 1 and _is_header(row)):
            continue
        if len(row) != 2:
            raise BadInput(
                f"{len(row)} column{'s' * (len(row) > 1)} instead of question and answer",
                file=path,
                line=number,
                remedy="Fix or remove the line.",
            )
        yield number, {"question": row[0], "answer": row[1]}


def _is_header(row: Sequence[str]) -> bool:
    names = [cell.strip().lower() for cell in row]
    return len(names) == 2 and names[0] in QUESTIONS and names[1] in ANSWERS


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as file:  # pyarrow would take a folder for an empty table
        try:
            rows = pq.read_table(file).to_pylist()
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno:  # not the content's fault
                raise
            raise BadInput(
                f"not a readable Parquet file: {error}", file=path, remedy="Write it again."
            ) from error
    yield from enumerate(rows, 1)
