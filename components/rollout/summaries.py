"""Finishes a rollout's stages: checks that no chunk is missing and writes counts to the marker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lidr.components.rollout.answers import Answers
from lidr.components.rollout.chunks import Chunk, Shard
from lidr.components.rollout.figures import NOTES, collect_notes, delete_notes
from lidr.components.rollout.translations import Translations, directions
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.core.languages import UNDETERMINED
from lidr.components.shared.kubernetes import exchange
from lidr.components.shared.store.stage import Stage

_Count = Callable[[Stage, Sequence[str]], dict[str, Any]]


def finish_responses(settings: Recipe, answers: Answers) -> None:
    """Finish a generate stage, unless it is finished already.

    Args:
        settings: the recipe.
        answers: the stage's chunks.

    Raises:
        EngineFailed: a chunk is missing.
        CorruptStage: a chunk is not a Parquet file.
    """
    _finish(answers.stage, answers.chunks(Shard()), partial(_response_counts, settings))


def finish_translations(settings: Recipe, translations: Translations) -> None:
    """Finish a translate stage, as `finish_responses` does a generate stage."""
    _finish(
        translations.stage,
        translations.chunks(Shard()),
        partial(_translation_counts, settings),
    )


def _finish(stage: Stage, chunks: Iterable[Chunk[Any]], count: _Count) -> None:
    if not stage.done():
        names = _require_all(stage, chunks)
        counts = count(stage, names) | collect_notes(stage)
        stage.finish(counts, exclude=(NOTES, f"{exchange.FOLDER}/"))
    delete_notes(stage)


def _response_counts(settings: Recipe, stage: Stage, names: Sequence[str]) -> dict[str, Any]:
    """Count a generate stage's records, file by file."""
    languages: dict[str, Any] = {}
    for language in settings.languages.all:
        total, off_target = 0, 0
        sums: Counter[str] = Counter()
        failures: Counter[str] = Counter()
        columns = ["detected_language", "failure", "prompt_tokens", "output_tokens"]
        for table in stage.unfinished_tables(_in_folder(f"responses/{language}/", names), columns):
            total += table.num_rows
            detected = Counter(_value_counts(table, "detected_language"))
            off_target += table.num_rows - detected[language] - detected[UNDETERMINED]
            failures += Counter(_value_counts(table, "failure"))
            for column in ("prompt_tokens", "output_tokens"):
                sums[column] += pc.sum(table[column]).as_py() or 0
        languages[language] = {
            "responses": total,
            "failures": dict(sorted(failures.items())),
            "off_target": off_target / total if total else 0.0,
            "prompt_tokens": sums["prompt_tokens"],
            "output_tokens": sums["output_tokens"],
        }
    responses = sum(counted["responses"] for counted in languages.values())
    return {"responses": responses, "languages": languages}


def _translation_counts(settings: Recipe, stage: Stage, names: Sequence[str]) -> dict[str, Any]:
    """Count a translate stage's records, file by file; of its round trips, only check the files."""
    for _ in stage.unfinished_tables(_in_folder("round_trip/", names), []):
        pass
    counted: dict[str, Any] = {}
    for source, target in directions(settings):
        total = tokens = 0
        failures: Counter[str] = Counter()
        recovered: Counter[str] = Counter()
        own = _in_folder(f"translations/{source}-{target}/", names)
        for table in stage.unfinished_tables(own, ["failure", "output_tokens", "recovered"]):
            total += table.num_rows
            tokens += pc.sum(table["output_tokens"]).as_py() or 0
            failures += Counter(_value_counts(table, "failure"))
            recovered += Counter(_value_counts(table, "recovered"))
        counted[f"{source}-{target}"] = {
            "translations": total,
            "failures": dict(sorted(failures.items())),
            "recovered": dict(sorted(recovered.items())),
            "output_tokens": tokens,
        }
    translations = sum(direction["translations"] for direction in counted.values())
    return {"translations": translations, "directions": counted}


def _require_all(stage: Stage, chunks: Iterable[Chunk[Any]]) -> list[str]:
    """Return the names of the stage's chunks; raise if any is missing."""
    present = {entry.key for entry in stage.store.list(stage.prefix)}
    wanted = [chunk.key for chunk in _with_followers(chunks)]
    unlisted = [key for key in wanted if key not in present]
    missing = [key for key in unlisted if not stage.store.exists(key)]  # a listing may lag
    if missing:
        raise EngineFailed(
            f"{len(missing)} of {len(wanted)} chunks are missing, first {missing[0]}",
            remedy="Run again: finished chunks are kept.",
        )
    return [key.removeprefix(f"{stage.prefix}/") for key in wanted]


def _with_followers(chunks: Iterable[Chunk[Any]]) -> Iterator[Chunk[Any]]:
    for chunk in chunks:
        yield chunk
        yield from _with_followers(follower.chunk for follower in chunk.followers)


def _in_folder(folder: str, names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if name.startswith(folder))


def _value_counts(table: pa.Table, column: str) -> Mapping[str, int]:
    """Return how often each value occurs; nulls are not counted."""
    pairs = pc.value_counts(table[column].drop_null()).to_pylist()
    return {pair["values"]: pair["counts"] for pair in pairs}
