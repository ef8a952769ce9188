"""Mathematical problems: the items of our own tasks, from a local file or from a pinned source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lidr.components.evaluate.items.ids import own_ids
from lidr.components.evaluate.items.places import files_at, local_path
from lidr.components.evaluate.items.published import SOURCES, ItemSource
from lidr.components.evaluate.items.rows import ANSWERS, QUESTIONS, Row, read_rows
from lidr.components.shared.core.errors import BadInput, StoreError, Unavailable
from lidr.components.shared.numbers.answer import extract_number


def problems(family: str, language: str, data: Mapping[str, str]) -> list[Row]:
    """Return a family's items in one language: item_id, language, question and answer.

    Args:
        family: a key of `SOURCES`.
        language: ISO 639-1 code.
        data: the recipe's `evaluation.data`.

    Raises:
        BadInput: a file cannot be read, a line of it is broken, or an item has no answer.
        Unavailable: the server with the items does not answer.
    """
    source = SOURCES[family]
    published = source.source.text()
    given = data.get(family) or data.get(source.dataset) or published
    try:
        paths = files_at(local_path(given, language), ("test",), language)["test"]
    except (Unavailable, StoreError):
        raise
    except BadInput as error:
        if given != published:
            raise
        copy = f"evaluation.data: {{{family}: <folder>/{{language}}.jsonl}}"
        refused = BadInput(
            error.message,
            remedy=f"{error.remedy} Or give a copy: {copy}"
            if error.remedy
            else f"Give a copy: {copy}",
        )
        refused.file, refused.line = error.file, error.line  # its message begins with them
        raise refused from error
    return _items(paths, language, source)


def _items(paths: Sequence[Path], language: str, source: ItemSource) -> list[Row]:
    found = [(row, path, line) for path in paths for line, row in read_rows(path)]
    ids = own_ids({number: row for number, (row, _, _) in enumerate(found)})
    return [
        {
            "item_id": ids.get(number, str(number)),
            "language": language,
            "question": field_of(row, QUESTIONS, "question", path, line),
            "answer": _answer(row, path, line, source),
        }
        for number, (row, path, line) in enumerate(found)
    ]


def _answer(row: Row, path: Path, line: int, source: ItemSource) -> str:
    answer = field_of(row, ANSWERS, "answer", path, line)
    if source.numeric and extract_number(answer, "en") is None:
        raise BadInput(
            f"the answer {answer[:80]!r} is not a number",
            file=path,
            line=line,
            remedy="Give the right number.",
        )
    return answer


def field_of(row: Row, names: tuple[str, ...], what: str, path: Path, line: int) -> str:
    """Return the first of these fields that an item has, as text.

    Raises:
        BadInput: it has none (file and line).
    """
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int | float) and str(value).strip():
            return str(value).strip()
    raise BadInput(
        f"the item has no {what}",
        file=path,
        line=line,
        remedy=f"Give it a field {' or '.join(names)}.",
    )
