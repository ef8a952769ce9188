"""Prompt files: JSON Lines or Parquet, one per language, the same ids in each."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lidr.components.shared.config.prompts import LINE_NUMBER, Prompts
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.config.source import parse_source, shown
from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.inputs.files import (
    alternatives,
    first_field,
    is_parquet,
    json_lines,
    prompt_text,
    read_file,
    require_text,
)
from lidr.components.shared.inputs.translation_tasks import is_about_translation
from lidr.components.shared.records.schema import Prompt

_OWN_FIELDS = ("language",)
"""Fields that lidr itself writes into prompt files, but does not read from them."""


def load_prompts(
    recipe: Recipe, *, found_fields: set[str] | None = None
) -> dict[str, list[Prompt]]:
    """Read every prompt file of a recipe, in the order of the dominant language's ids.

    Args:
        recipe: that names them.
        found_fields: a set that the names of the rows' fields are added to.

    Raises:
        BadInput: a file is missing, empty or broken (file and line), or the ids of two languages
            differ.
    """
    dominant = recipe.languages.dominant
    prompts = {
        code: load_language(
            recipe.prompts, code, found_fields=found_fields, find_tasks=code == dominant
        )
        for code in recipe.languages.all
    }
    order = [prompt.prompt_id for prompt in prompts[dominant]]
    listed = listed_tasks(recipe.prompts)
    if listed and not listed & set(order):
        emit(
            "warning",
            message=f"prompts.translation_tasks: none of its {len(listed)} ids is a prompt's "
            f"(it has {min(listed)!r}, a prompt is {order[0]!r}), so the list marks no prompt",
        )
    for code in recipe.languages.others:
        by_id = {prompt.prompt_id: prompt for prompt in prompts[code]}
        require_same_ids(recipe, code, order, set(by_id))
        prompts[code] = [by_id[prompt_id] for prompt_id in order]
    return _with_equal_flags(prompts, listed)


def load_language(
    settings: Prompts,
    language: str,
    *,
    found_fields: set[str] | None = None,
    find_tasks: bool = False,
) -> list[Prompt]:
    """Read all prompt files of one language, in their order.

    Args:
        settings: the files, and the names of their fields.
        language: ISO 639-1 code.
        found_fields: a set that the names of the rows' fields are added to.
        find_tasks: whether to find prompts about translation by patterns, if neither a field nor a
            list marks them.

    Raises:
        BadInput: a file is unusable, or an id is in two files.
    """
    prompts: dict[str, Prompt] = {}
    for file in settings.files[language]:
        for prompt in load_prompt_file(
            file, language, settings, found_fields=found_fields, find_tasks=find_tasks
        ):
            if prompt.prompt_id in prompts:
                raise BadInput(
                    f"id {prompt.prompt_id!r} is in an earlier file, too",
                    file=parse_source(file).address,
                    line=_line_in(file, prompt.prompt_id, settings),
                    remedy="Give every prompt its own id, or drop one of the files.",
                )
            prompts[prompt.prompt_id] = prompt
    return list(prompts.values())


def listed_tasks(settings: Prompts) -> set[str]:
    """Return the ids in the recipe's list of translation tasks; none without a list.

    Raises:
        BadInput: the list is broken.
    """
    source = settings.translation_tasks
    names = tuple(n for n in settings.fields.prompt_id if n != LINE_NUMBER) or ("prompt_id",)
    if not source:
        return set()
    found = set[str]()
    for line, row in json_lines(source, read_file(source, "prompts.translation_tasks")):
        value = _id_of(row, names, line)
        shared = _shared_id(value, settings.id_pattern) if isinstance(value, str) else ""
        if not shared:
            raise BadInput(
                f"no usable field {alternatives(names)}; the line has {', '.join(row)}",
                file=parse_source(source).address,
                line=line,
                remedy="Name each prompt by its id, as the prompt files do.",
            )
        found.add(shared)
    return found


def _with_equal_flags(
    prompts: dict[str, list[Prompt]], listed: set[str]
) -> dict[str, list[Prompt]]:
    """Mark prompts as translation tasks in all languages if they are one in any."""
    tasks = {p.prompt_id for rows in prompts.values() for p in rows if p.translation_task} | listed
    if not tasks:
        return prompts
    return {
        code: [replace(p, translation_task=p.prompt_id in tasks) for p in rows]
        for code, rows in prompts.items()
    }


def load_prompt_file(
    file: str,
    language: str,
    settings: Prompts,
    *,
    found_fields: set[str] | None = None,
    find_tasks: bool = False,
) -> list[Prompt]:
    """Read one prompt file.

    Args:
        file: its source, which ends in .jsonl or .parquet.
        language: ISO 639-1 code for its prompts.
        settings: names of the fields in the file, and the pattern of its ids.
        found_fields: a set that the names of the rows' fields are added to.
        find_tasks: as in `load_language`.

    Raises:
        BadInput: with file, line (or Parquet row) and remedy.
    """
    rows = _rows(file)
    file = parse_source(file).address
    prompts: dict[str, Prompt] = {}
    for line, row in rows:
        prompt = _prompt(row, language, settings, file, line)
        if found_fields is not None:
            found_fields.update(row)
        if find_tasks and _is_task(row, prompt, settings):
            prompt = replace(prompt, translation_task=True)
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


def place_of(prompt_id: str, language: str, settings: Prompts) -> tuple[str, int]:
    """Return a prompt's file and its line (or Parquet row) there, for an error message."""
    files = settings.files[language]
    for file in files:
        if line := _line_in(file, prompt_id, settings):
            return parse_source(file).address, line
    return shown(files), 0


def _line_in(file: str, prompt_id: str, settings: Prompts) -> int:
    for at, row in _rows(file):
        given = _id_of(row, settings.fields.prompt_id, at)
        if _shared_id(str(given), settings.id_pattern) == prompt_id:
            return at
    return 0


def _rows(source: str) -> Iterator[tuple[int, dict[str, Any]]]:
    file, data = parse_source(source).address, read_file(source, "prompts.files")
    return _parquet_rows(file, data) if is_parquet(file) else json_lines(file, data)


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
            remedy="Write it again, or use .jsonl.",
        ) from error
    yield from enumerate(rows, start=1)


def _prompt(row: dict[str, Any], language: str, settings: Prompts, file: str, line: int) -> Prompt:
    fields = settings.fields
    prompt_id = _id_of(row, fields.prompt_id, line)
    text = prompt_text(row, settings, file, line)
    require_text(fields.prompt_id, prompt_id, row, file, line)
    shared = _shared_id(str(prompt_id), settings.id_pattern)
    if not shared:
        raise BadInput(
            f"id {prompt_id!r} does not match prompts.id_pattern {settings.id_pattern!r}",
            file=file,
            line=line,
            remedy="Correct the pattern or the id.",
        )
    answer, task = first_field(row, fields.answer, line), row.get(fields.translation_task)
    if task is not None and not isinstance(task, bool):
        raise BadInput(
            f"field {fields.translation_task!r} is neither true nor false",
            file=file,
            line=line,
            remedy="Write true or false, without quotes.",
        )
    if isinstance(answer, bool | list | dict):
        raise BadInput(
            f"the answer is neither text nor a number: {answer!r:.80}",
            file=file,
            line=line,
            remedy="Write it as text, or name another field under prompts.fields.answer.",
        )
    return Prompt(
        prompt_id=shared,
        language=language,
        text=valid_unicode(text),
        answer=None if answer is None else valid_unicode(str(answer)),
        translation_task=bool(task),
    )


def _is_task(row: Mapping[str, Any], prompt: Prompt, settings: Prompts) -> bool:
    marked = settings.translation_tasks or row.get(settings.fields.translation_task) is not None
    return not marked and is_about_translation(prompt.text, prompt.language)


def unread_fields(settings: Prompts, fields: Collection[str]) -> list[str]:
    """Return the fields of prompt files that nothing reads, sorted.

    Args:
        settings: names of the fields that are read.
        fields: of the files, from `load_prompts`.
    """
    named = settings.fields
    read = {
        *(name for names in (named.prompt_id, named.text, named.input) for name in names),
        *(*named.answer, named.translation_task, *_OWN_FIELDS),
    }
    return sorted(set(fields) - read)


def note_of_unread(fields: Sequence[str]) -> str:
    """Return a sentence about fields that nothing reads."""
    return (
        f"the prompt files' fields {', '.join(fields)} are not read "
        "(prompts.fields in the recipe says which are)"
    )


def _id_of(row: Mapping[str, Any], names: Sequence[str], line: int) -> object:
    """Return a row's id, from the first of these fields; integers as text."""
    value = first_field(row, names, line)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _shared_id(prompt_id: str, pattern: str) -> str:
    """Return the part of an id that is the same across languages; "" if it has none."""
    if not pattern:
        return valid_unicode(prompt_id)
    found = re.search(pattern, prompt_id)
    return valid_unicode(found[1] or "") if found else ""


def require_same_ids(recipe: Recipe, code: str, order: list[str], found: set[str]) -> None:
    """Refuse a language whose ids (`found`) are not those of the dominant one (`order`).

    Raises:
        BadInput: with the number of ids that differ, and where the first one is.
    """
    missing = [prompt_id for prompt_id in order if prompt_id not in found]
    extra = sorted(found - set(order))
    if not missing and not extra:
        return
    dominant, settings = recipe.languages.dominant, recipe.prompts
    file, line = shown(settings.files[code]), 0
    parts = []
    if missing:
        place = ":".join(map(str, place_of(missing[0], dominant, settings)))
        parts.append(
            f"{len(missing)} ids of {dominant} are missing, first {missing[0]!r} ({place})"
        )
    if extra:
        file, line = place_of(extra[0], code, settings)
        parts.append(f"{len(extra)} ids are not in {dominant}, first {extra[0]!r}")
    raise BadInput(
        "; ".join(parts), file=file, line=line, remedy=f"Give {code} and {dominant} the same ids."
    )
