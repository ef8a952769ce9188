"""An iteration's prompts, read chunk by chunk from the prepare stage."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lidr.components.shared.core.errors import CorruptStage
from lidr.components.shared.records.parquet import NotRecords, require_schema
from lidr.components.shared.records.schema import Prompt
from lidr.components.shared.store.stage import Stage


class PromptBook:
    """The prompts of one iteration: the next `per_iteration` ones, wrapping around at the end.

    Args:
        inputs: the complete prepare stage.
        per_iteration: prompts per iteration; all of them if there are fewer.
        iteration: number of the iteration, from 1.
    """

    def __init__(self, inputs: Stage, per_iteration: int, iteration: int) -> None:
        self._inputs = inputs
        self._files: dict[str, _Rows] = {}
        self._per_iteration = per_iteration
        self._iteration = iteration

    def size(self, language: str) -> int:
        """Return how many prompts the iteration uses; the same in every language."""
        return min(self._per_iteration, len(self._rows(language)))

    def read(self, language: str, first: int, count: int) -> list[Prompt]:
        """Return at most `count` of the iteration's prompts, from number `first` (from 0) on."""
        rows, size = self._rows(language), self.size(language)
        start = (self._iteration - 1) * size + first
        return [rows[place % len(rows)] for place in range(start, start + min(count, size - first))]

    def _rows(self, language: str) -> _Rows:
        if language not in self._files:
            self._files[language] = _Rows(self._inputs, f"prompts/{language}.parquet")
        return self._files[language]


def open_prompts(stage: Stage, name: str) -> pq.ParquetFile:
    """Open one of the prepare stage's files of prompts.

    Raises:
        CorruptStage: the file is gone, damaged, or holds something else.
        OSError: this machine cannot read the file, which may be intact.
    """
    try:
        file = pq.ParquetFile(stage.local_file(name))
        require_schema(file.schema_arrow, Prompt)
    except (pa.ArrowException, OSError, NotRecords) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise CorruptStage(
            f"{stage.uri}/{name} holds no prompts ({error})",
            remedy=f"Delete {stage.uri} and run again.",
        ) from error
    return file


class _Rows:
    """The rows of a Parquet file by number; at most two row groups are kept in memory."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._file = open_prompts(stage, name)
        metadata = self._file.metadata
        sizes = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        self._starts: list[int] = [0, *accumulate(sizes)]
        self._group = lru_cache(maxsize=2)(self._read)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Prompt:
        group = bisect_right(self._starts, number) - 1
        return Prompt(**self._group(group)[number - self._starts[group]])

    def _read(self, group: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._file.read_row_group(group).to_pylist()
        return rows
