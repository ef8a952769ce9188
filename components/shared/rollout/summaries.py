"""What is written into a finished stage's marker: that every chunk is there, and its counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from components.shared.errors import EngineFailed
from components.shared.languages import UNDETERMINED
from components.shared.recipe import Recipe
from components.shared.rollout.answers import Answers
from components.shared.rollout.chunks import Chunk, Share
from components.shared.rollout.figures import gather
from components.shared.rollout.translations import Translations, directions
from components.shared.stage import Stage


def finish_responses(settings: Recipe, answers: Answers) -> None:
    """Finish a generate stage; where it is finished already, nothing happens.

    Args:
        settings: the recipe.
        answers: its chunks.

    Raises:
        EngineFailed: a chunk is missing.
        CorruptStage: a chunk is no Parquet file.
    """
    stage = answers.stage
    if not stage.done():
        _require_all(stage, answers.chunks(Share()))
        stage.finish(_response_counts(settings, stage) | gather(stage))


def finish_translations(settings: Recipe, translations: Translations) -> None:
    """Finish a translate stage, as `finish_responses` does a generate stage."""
    stage = translations.stage
    if not stage.done():
        _require_all(stage, translations.chunks(Share()))
        stage.finish(_translation_counts(settings, stage) | gather(stage))


def _response_counts(settings: Recipe, stage: Stage) -> dict[str, Any]:
    """Count a generate stage's records, file by file."""
    languages: dict[str, Any] = {}
    for language in settings.languages.all:
        total, off_target = 0, 0
        sums: Counter[str] = Counter()
        failures: Counter[str] = Counter()
        columns = ["detected_language", "failure", "prompt_tokens", "output_tokens"]
        for table in stage.own_tables(_names(stage, f"responses/{language}/"), columns):
            total += table.num_rows
            detected = Counter(_values(table, "detected_language"))
            off_target += table.num_rows - detected[language] - detected[UNDETERMINED]
            failures += Counter(_values(table, "failure"))
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


def _translation_counts(settings: Recipe, stage: Stage) -> dict[str, Any]:
    """Count a translate stage's records, file by file."""
    counted: dict[str, Any] = {}
    for source, target in directions(settings):
        total = tokens = 0
        failures: Counter[str] = Counter()
        names = _names(stage, f"translations/{source}-{target}/")
        for table in stage.own_tables(names, ["failure", "output_tokens"]):
            total += table.num_rows
            tokens += pc.sum(table["output_tokens"]).as_py() or 0
            failures += Counter(_values(table, "failure"))
        counted[f"{source}-{target}"] = {
            "translations": total,
            "failures": dict(sorted(failures.items())),
            "output_tokens": tokens,
        }
    translations = sum(direction["translations"] for direction in counted.values())
    return {"translations": translations, "directions": counted}


def _require_all(stage: Stage, chunks: Iterable[Chunk[Any]]) -> None:
    present = {entry.key for entry in stage.store.list(stage.prefix)}
    wanted = [chunk.key for chunk in _with_followers(chunks)]
    missing = [key for key in wanted if key not in present]
    if missing:
        raise EngineFailed(
            f"{len(missing)} of {len(wanted)} chunks are missing, first {missing[0]}",
            remedy="Run again: finished chunks are kept.",
        )


def _with_followers(chunks: Iterable[Chunk[Any]]) -> Iterator[Chunk[Any]]:
    for chunk in chunks:
        yield chunk
        yield from _with_followers(follower.chunk for follower in chunk.followers)


def _names(stage: Stage, prefix: str) -> list[str]:
    skip = len(stage.prefix) + 1
    folder = stage.key(prefix.rstrip("/"))
    return [entry.key[skip:] for entry in stage.store.list(folder)]


def _values(table: pa.Table, column: str) -> Mapping[str, int]:
    """Return how often each value occurs, null left out."""
    pairs = pc.value_counts(table[column].drop_null()).to_pylist()
    return {pair["values"]: pair["counts"] for pair in pairs}
