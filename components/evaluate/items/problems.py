"""Mathematical problems: the items of our own tasks, from a local file or from a pinned source."""

from __future__ import annotations

import tempfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from lidr.components.evaluate.items.places import files_at, place_of
from lidr.components.evaluate.items.rows import Row, read_rows
from lidr.components.evaluate.scoring.numbers import extract_number
from lidr.components.shared.core.errors import BadInput

_SECONDS = 60.0
_QUESTIONS = ("question", "query", "problem")
_ANSWERS = ("answer_number", "answer", "response")


@dataclass(frozen=True, slots=True)
class ItemSource:
    """Where a family's items are published.

    Attributes:
        dataset: name that `evaluation.data` may also use.
        url: the file of one language; it names a commit, so that its content cannot change.
        languages: ISO 639-1 codes it has.
        numeric: every answer is a number.
    """

    dataset: str
    url: str
    languages: tuple[str, ...]
    numeric: bool


SOURCES = {
    # Shi et al. 2022, arXiv 2210.03057; the harness reads a copy of it, juletxara/mgsm.
    "mgsm": ItemSource(
        "juletxara/mgsm",
        "https://raw.githubusercontent.com/google-research/url-nlp/"
        "2d5736bde2ca9eeccb0f937fddef518591ac3aa7/mgsm/mgsm_{language}.tsv",
        ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"),
        numeric=True,
    ),
    # Luo et al. 2025, arXiv 2505.19126.
    "mmath": ItemSource(
        "RUCAIBox/MMATH",
        "https://raw.githubusercontent.com/RUCAIBox/MMATH/"
        "e04a8ba49ba24a504512be6f84d25b8370add1dd/mmath/{language}.json",
        ("ar", "en", "es", "fr", "ja", "ko", "pt", "th", "vi", "zh"),
        numeric=False,
    ),
    # Lightman et al. 2023, arXiv 2305.20050.
    "math500": ItemSource(
        "HuggingFaceH4/MATH-500",
        "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/"
        "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be/test.jsonl",
        ("en",),
        numeric=False,
    ),
}


def problems(family: str, language: str, data: Mapping[str, str]) -> list[Row]:
    """Return a family's items in one language: item_id, language, question and answer.

    Args:
        family: a key of `SOURCES`.
        language: ISO 639-1 code.
        data: the recipe's `evaluation.data`.

    Raises:
        BadInput: the file cannot be had, a line of it is broken, or an item has no answer.
    """
    source = SOURCES[family]
    given = data.get(family) or data.get(source.dataset)
    if given:
        (path, *_) = files_at(place_of(given, language), ("test",), language)["test"]
        return _items(path, language, source)
    with tempfile.TemporaryDirectory(prefix="lidr-items-") as folder:
        return _items(_fetch(source, family, language, Path(folder)), language, source)


def _fetch(source: ItemSource, family: str, language: str, folder: Path) -> Path:
    url = source.url.format(language=language)
    path = folder / url.rpartition("/")[2]
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - our own URLs
            path.write_bytes(answer.read())
    except (URLError, OSError) as error:
        raise BadInput(
            f"cannot be downloaded: {error}",
            file=url,
            remedy=f"Give a local copy: evaluation.data: {{{family}: <folder>/{{language}}.jsonl}}",
        ) from error
    return path


def _items(path: Path, language: str, source: ItemSource) -> list[Row]:
    return [
        {
            "item_id": str(number),
            "language": language,
            "question": _field(row, _QUESTIONS, "question", path, line),
            "answer": _answer(row, path, line, source),
        }
        for number, (line, row) in enumerate(read_rows(path))
    ]


def _answer(row: Row, path: Path, line: int, source: ItemSource) -> str:
    answer = _field(row, _ANSWERS, "answer", path, line)
    if source.numeric and extract_number(answer, "en") is None:
        raise BadInput(
            f"the answer {answer[:80]!r} is no number",
            file=path,
            line=line,
            remedy="Give the number that is right.",
        )
    return answer


def _field(row: Row, names: tuple[str, ...], what: str, path: Path, line: int) -> str:
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
