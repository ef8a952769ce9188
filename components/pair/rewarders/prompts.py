"""The prompts that an iteration answered: a small part of those in the prepare stage."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lidr.components.rollout.prompts import open_prompts
from lidr.components.shared.records.schema import Prompt, Response
from lidr.components.shared.store.stage import Stage, open_stage


def answered_prompts(
    inputs: str, languages: Sequence[str], answers: Iterable[Response]
) -> dict[tuple[str, str], Prompt]:
    """Return the prompts whose id was answered in any language, by (prompt_id, language).

    Files are read in batches: there may be a million prompts in each of 20 languages.

    Args:
        inputs: URI of the stage `prepare`.
        languages: languages of the prompts to read, in this order.
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
    """Yield the rows of a prompt file that have one of the given ids."""
    with open_prompts(stage, name) as file:
        for batch in file.iter_batches():
            kept = batch.filter(pc.is_in(batch.column("prompt_id"), value_set=ids))
            yield from kept.to_pylist()
