"""The prompts that an iteration answered: few of those that the prepare stage holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lidr.components.shared.core.errors import CorruptStage
from lidr.components.shared.records.parquet import NotRecords, require_schema
from lidr.components.shared.records.schema import Prompt, Response
from lidr.components.shared.store.stage import Stage, open_stage


def answered_prompts(
    inputs: str, languages: Sequence[str], answers: Iterable[Response]
) -> dict[tuple[str, str], Prompt]:
    """Return the prompts whose id was answered in any language, by (prompt_id, language).

    Files are read in batches: there may be a million prompts in each of 20 languages.

    Args:
        inputs: URI of the stage `prepare`.
        languages: to be read, in this order.
        answers: the iteration's responses.

    Raises:
        CorruptStage: a file is gone, damaged, or holds something else.
    """
    stage = open_stage(inputs)
    ids = pa.array(sorted({each.prompt_id for each in answers}), pa.string())
    names = [f"prompts/{code}.parquet" for code in languages]
    prompts = (Prompt(**row) for name in names for row in _rows(stage, name, ids))
    return {(each.prompt_id, each.language): each for each in prompts}


def _rows(stage: Stage, name: str, ids: pa.Array) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file of prompts that have one of some ids."""
    path = stage.local_file(name)
    try:
        with pq.ParquetFile(path) as file:
            require_schema(file.schema_arrow, Prompt)
            for batch in file.iter_batches():
                kept = batch.filter(pc.is_in(batch.column("prompt_id"), value_set=ids))
                yield from kept.to_pylist()
    except (pa.ArrowException, NotRecords) as error:
        raise CorruptStage(
            f"{stage.uri}/{name} holds no prompts ({error})",
            remedy=f"Delete {stage.uri} and run again.",
        ) from error
