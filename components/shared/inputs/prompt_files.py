"""Prompt files: JSON Lines or Parquet, one per language, the same ids in each."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from lidr.components.shared.config.recipe import Prompts, Recipe
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.inputs.files import json_lines, read_file
from lidr.components.shared.records.schema import Prompt


def load_prompts(recipe: Recipe) -> dict[str, list[Prompt]]:
    """Read every prompt file of a recipe; the ids and their order are the dominant language's.

    Raises:
        BadInput: a file is missing, empty or broken (file and line), or the ids of two languages
            differ.
    """
    prompts = {
        code: load_prompt_file(recipe.prompts.files[code], code, recipe.prompts)
        for code in recipe.languages.all
    }
    dominant = recipe.languages.dominant
    order = [prompt.prompt_id for prompt in prompts[dominant]]
    for code in recipe.languages.others:
        require_same_ids(recipe, code, order, {prompt.prompt_id for prompt in prompts[code]})
        by_id = {prompt.prompt_id: prompt for prompt in prompts[code]}
        prompts[code] = [by_id[prompt_id] for prompt_id in order]
    return _with_equal_flags(prompts)


def _with_equal_flags(prompts: dict[str, list[Prompt]]) -> dict[str, list[Prompt]]:
    """A prompt that is a translation task in one language is one in all of them."""
    tasks = {p.prompt_id for rows in prompts.values() for p in rows if p.translation_task}
    if not tasks:
        return prompts
    return {
        code: [replace(p, translation_task=p.prompt_id in tasks) for p in rows]
        for code, rows in prompts.items()
    }


def load_prompt_file(file: str, language: str, settings: Prompts) -> list[Prompt]:
    """Read one prompt file.

    Args:
        file: path or `s3://` URI, ending in .jsonl or .parquet.
        language: ISO 639-1 code that its prompts get.
        settings: names of the fields in the file, and which part of an id counts.

    Raises:
        BadInput: with file, line (or Parquet row) and remedy.
    """
    data = read_file(file, "prompts.files")
    rows = _parquet_rows(file, data) if file.endswith(".parquet") else json_lines(file, data)
    prompts: dict[str, Prompt] = {}
    for line, row in rows:
        prompt = _prompt(row, language, settings, file, line)
        if prompt.prompt_id in prompts:
            raise BadInput(
                f"id {prompt.prompt_id!r} appears twice",
                file=file,
                line=line,
                remedy="Give every prompt its own id.",
            )
        prompts[prompt.prompt_id] = prompt
    if not prompts:
        raise BadInput("no prompts in the file", file=file, remedy="Add at least one line.")
    return list(prompts.values())


def line_of(file: str, prompt_id: str, settings: Prompts) -> int:
    """Return the line (or Parquet row) of a prompt in its file, for an error message; else 0."""
    data = read_file(file, "prompts.files")
    rows = _parquet_rows(file, data) if file.endswith(".parquet") else json_lines(file, data)
    name, pattern = settings.fields.prompt_id, settings.id_pattern
    return next((at for at, row in rows if _shared(str(row.get(name)), pattern) == prompt_id), 0)


def _parquet_rows(file: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
        table.validate(full=True)
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise BadInput(
            "not a Parquet file that can be read",
            file=file,
            remedy="Write it anew, or use .jsonl.",
        ) from error
    yield from enumerate(rows, start=1)


def _prompt(row: dict[str, Any], language: str, settings: Prompts, file: str, line: int) -> Prompt:
    fields = settings.fields
    prompt_id, text = row.get(fields.prompt_id), row.get(fields.text)
    if isinstance(prompt_id, int) and not isinstance(prompt_id, bool):
        prompt_id = str(prompt_id)
    for name, value in ((fields.prompt_id, prompt_id), (fields.text, text)):
        if not isinstance(value, str) or not value.strip():
            raise BadInput(
                f"field {name!r} is missing, empty or not text; the line has {', '.join(row)}",
                file=file,
                line=line,
                remedy="Fill it in, or name the field under prompts.fields in the recipe.",
            )
    shared = _shared(str(prompt_id), settings.id_pattern)
    if not shared:
        raise BadInput(
            f"id {prompt_id!r} does not match prompts.id_pattern {settings.id_pattern!r}",
            file=file,
            line=line,
            remedy="Correct the pattern or the id.",
        )
    answer, task = row.get(fields.answer), row.get(fields.translation_task)
    if task is not None and not isinstance(task, bool):
        raise BadInput(
            f"field {fields.translation_task!r} is neither true nor false",
            file=file,
            line=line,
            remedy="Write true or false, without quotes.",
        )
    return Prompt(
        prompt_id=shared,
        language=language,
        text=valid_unicode(str(text)),
        answer=None if answer is None else valid_unicode(str(answer)),
        translation_task=bool(task),
    )


def _shared(prompt_id: str, pattern: str) -> str:
    """Return the part of an id that is the same across languages; "" where it has none."""
    if not pattern:
        return valid_unicode(prompt_id)
    found = re.search(pattern, prompt_id)
    return valid_unicode(found[1] or "") if found else ""


def require_same_ids(recipe: Recipe, code: str, order: list[str], found: set[str]) -> None:
    """Refuse a language whose ids are not those of the dominant one.

    Args:
        recipe: names the files.
        code: of the language.
        order: ids of the dominant language.
        found: ids of this one.

    Raises:
        BadInput: with the number of ids that differ, and where the first one stands.
    """
    missing = [prompt_id for prompt_id in order if prompt_id not in found]
    extra = sorted(found - set(order))
    if not missing and not extra:
        return
    dominant, files = recipe.languages.dominant, recipe.prompts.files
    parts = []
    if missing:
        line = line_of(files[dominant], missing[0], recipe.prompts)
        place = f"{files[dominant]}:{line}"
        parts.append(
            f"{len(missing)} ids of {dominant} are missing, first {missing[0]!r} ({place})"
        )
    if extra:
        parts.append(f"{len(extra)} ids are not in {dominant}, first {extra[0]!r}")
    raise BadInput(
        "; ".join(parts),
        file=files[code],
        line=line_of(files[code], extra[0], recipe.prompts) if extra else 0,
        remedy=f"Give {code} and {dominant} the same ids.",
    )
