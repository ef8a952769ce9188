"""Evaluation items that also appear among the training prompts, and the scores without them.

Two texts overlap if they share an n-gram (13 as in GPT-3, arXiv 2005.14165 appendix C, and 8,
which finds more and is wrong more often). Texts are compared after Unicode NFKC, in lower case,
without punctuation and symbols. The unit is the word, or the character in languages that are
written without spaces (`BY_CHARACTER`); there an n-gram is a shorter piece of text.

A text of fewer than n units overlaps only with an equal text. N-grams that more than a tenth of a
task's items share are the task's own words ("answer with a number only") and do not count.

The evaluation's n-grams are held as hashes of 64 bits; prompts are read in batches, so that
millions of them need no more memory than a few.
"""

from __future__ import annotations

import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow.parquet as pq

from lidr.components.evaluate.summary import by_language
from lidr.components.shared.core.events import emit
from lidr.components.shared.records.schema import EvalItem, Overlap
from lidr.components.shared.stats.intervals import Interval, macro_average
from lidr.components.shared.store.stage import open_stage

SIZES = (13, 8)
"""Lengths of the n-grams, in words or characters."""

BY_CHARACTER = ("ja", "th", "zh")
"""Languages written without spaces between words."""

_MAX_LISTED = 10
"""Most prompt ids listed for one item; all prompts are counted."""

_MAX_SHARED = 0.1
"""An n-gram that a larger share of a task's items has is part of how the task asks."""

_BATCH_ROWS = 4096

Score = Callable[[Sequence[EvalItem]], Interval]


def find_overlaps(
    items: Sequence[EvalItem], prompts: Callable[[str], Iterable[tuple[str, str]]]
) -> tuple[list[Overlap], dict[str, int]]:
    """Return the items that share n-grams with a training prompt of their language.

    Args:
        items: the evaluation's items.
        prompts: yields the id and text of each training prompt in a language.

    Returns:
        The overlaps, and how many prompts each language has.
    """
    found: list[Overlap] = []
    counts: dict[str, int] = {}
    for code, own in by_language(items).items():
        indices = [_Index(own, size) for size in SIZES]
        counts[code] = 0
        for prompt_id, text in prompts(code):
            counts[code] += 1
            units = _units(text, code)
            for index in indices:
                index.add_prompt(prompt_id, units)
        found += [overlap for index in indices for overlap in index.overlaps()]
    return found, counts


def summarise_overlaps(
    items: Sequence[EvalItem],
    overlaps: Sequence[Overlap],
    prompts: Mapping[str, int],
    others: Sequence[str],
    score: Score,
) -> dict[str, Any]:
    """Return how many items overlap, and the scores with and without them.

    Args:
        items: the evaluation's items.
        overlaps: what `find_overlaps` found in them.
        prompts: number of training prompts in each language.
        others: codes of the other languages, for the average.
        score: returns the mean score of items with its interval.

    Returns:
        For each n as a string: `languages` (code to `unit`, `prompts`, `items`, `overlapping`,
        `with` and `without`) and the `average` over the other languages `with` and `without`;
        `without` is None where no items are left.
    """
    groups = by_language(items)
    found: dict[str, Any] = {}
    for size in SIZES:
        leaked = {(o.task, o.language, o.item_id) for o in overlaps if o.size == size}
        languages = {
            code: {"unit": _unit(code), "prompts": prompts[code], **_scores(own, leaked, score)}
            for code, own in groups.items()
        }
        found[str(size)] = {"languages": languages, "average": _averages(languages, others)}
    return found


def prompt_digests(inputs: str) -> dict[str, str]:
    """Return the SHA-256 of each prompt file, which the check's result depends on.

    Other parts of the prepare stage do not count: changing them does not repeat an evaluation.
    """
    if not inputs:
        return {}
    stage = open_stage(inputs)
    described = stage.marker()["files"]
    return {name: described[name]["sha256"] for name in stage.files(prefix="prompts/")}


def report_overlaps(counts: Mapping[str, Any]) -> None:
    """Report how many items share one of the longer n-grams with a prompt.

    Args:
        counts: what `summarise_overlaps` returned.
    """
    size = str(SIZES[0])
    for code, row in counts[size]["languages"].items():
        if row["overlapping"]:
            emit(
                "note",
                message=f"{row['overlapping']} of {row['items']} evaluation items in {code} share "
                f"{size} {row['unit']} in a row, or their whole text, with a training prompt",
            )


def stage_prompts(inputs: str, code: str) -> Iterator[tuple[str, str]]:
    """Yield the id and text of each training prompt in a language.

    Args:
        inputs: URI of the stage `prepare`, all of whose prompts are read; "" for none.
        code: ISO 639-1 code of the language.
    """
    name = f"prompts/{code}.parquet"
    if name not in prompt_digests(inputs):
        return
    with pq.ParquetFile(open_stage(inputs).local_file(name)) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=["prompt_id", "text"]):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _grams(units: Sequence[str], size: int) -> Iterator[tuple[str, ...]]:
    """Return the n-grams of a text; a text of fewer than `size` units is one n-gram."""
    if 0 < len(units) < size:
        return iter([tuple(units)])
    return zip(*(units[start:] for start in range(size)), strict=False)


class _Index:
    """The n-grams of one language's items, and which of them were seen in prompts.

    Args:
        items: the items of one language.
        size: number of units in an n-gram.
    """

    def __init__(self, items: Sequence[EvalItem], size: int) -> None:
        self._items = items
        self._size = size
        self._known = self._hashes()
        self._prompts: dict[int, list[str]] = defaultdict(list)
        self._count: Counter[int] = Counter()
        self._shared: dict[int, tuple[str, ...]] = {}

    def add_prompt(self, prompt_id: str, units: Sequence[str]) -> None:
        """Note which items share an n-gram with a prompt."""
        if self._known.keys().isdisjoint(map(hash, _grams(units, self._size))):
            return
        touched: set[int] = set()
        for gram in _grams(units, self._size):
            for number in self._known.get(hash(gram), ()):
                touched.add(number)
                self._shared.setdefault(number, gram)
        for number in touched:
            self._count[number] += 1
            if len(self._prompts[number]) < _MAX_LISTED:
                self._prompts[number].append(prompt_id)

    def overlaps(self) -> list[Overlap]:
        """Return the overlaps so far, in the items' order."""
        joint = "" if self._items[0].language in BY_CHARACTER else " "
        return [
            Overlap(
                task=self._items[number].task,
                language=self._items[number].language,
                item_id=self._items[number].item_id,
                size=self._size,
                ngram=joint.join(self._shared[number]),
                prompts=self._count[number],
                prompt_ids=self._prompts[number],
            )
            for number in sorted(self._shared)
        ]

    def _hashes(self) -> dict[int, list[int]]:
        """Return the items that have each n-gram, by its hash, without the tasks' own words."""
        tasks: dict[str, list[int]] = defaultdict(list)
        for number, item in enumerate(self._items):
            tasks[item.task].append(number)
        known: dict[int, list[int]] = defaultdict(list)
        for numbers in tasks.values():
            own: dict[int, list[int]] = defaultdict(list)
            for number in numbers:
                units = _units(self._items[number].prompt, self._items[number].language)
                for key in set(map(hash, _grams(units, self._size))):
                    own[key].append(number)
            most = max(1, _MAX_SHARED * len(numbers))
            for key, having in own.items():
                if len(having) <= most:
                    known[key] += having
        return known


def _scores(
    items: Sequence[EvalItem], leaked: set[tuple[str, str, str]], score: Score
) -> dict[str, Any]:
    clean = [item for item in items if (item.task, item.language, item.item_id) not in leaked]
    return {
        "items": len(items),
        "overlapping": len(items) - len(clean),
        "with": score(items),
        "without": score(clean) if clean else None,
    }


def _averages(languages: Mapping[str, Any], others: Sequence[str]) -> dict[str, Interval | None]:
    found: dict[str, Interval | None] = {}
    for key in ("with", "without"):
        parts = [row[key] for code, row in languages.items() if code in others]
        found[key] = None if None in parts else macro_average(parts)
    return found


def _units(text: str, language: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).lower().translate(_separators())
    words = plain.split()
    return list("".join(words)) if language in BY_CHARACTER else words


def _unit(language: str) -> str:
    return "characters" if language in BY_CHARACTER else "words"


@cache
def _separators() -> dict[int, str]:
    """Return a table that turns punctuation and symbols, not combining marks, into spaces."""
    points = range(sys.maxunicode + 1)
    return {point: " " for point in points if unicodedata.category(chr(point))[0] in "PS"}
