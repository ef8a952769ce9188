"""Duplicate prompts: exact ones, and near ones by MinHash (Broder 1997).

The prompts of all iterations are in one list, so a duplicate is left out of every iteration. Only
the dominant language's texts are compared, because an id means the same in every language.

Memory besides the prompts (measured): 0.16 kB each for exact duplicates, 0.8 kB each for near ones,
so 0.8 GB for a million.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lidr.components.shared.config.deduplication import Deduplication
from lidr.components.shared.records.schema import Prompt

_PERMUTATIONS = 128
_SHINGLE_CHARS = 5
_FALSE_NEGATIVE_WEIGHT = 0.9
"""Weight of pairs missed, against pairs compared in vain, when datasketch chooses the bands."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A prompt that is left out.

    Attributes:
        prompt_id: its id.
        duplicate_of: id of the earlier prompt.
        similarity: estimated Jaccard similarity of their shingles; 1 for equal texts.
    """

    prompt_id: str
    duplicate_of: str
    similarity: float


def find_duplicates(
    prompts: Sequence[Prompt], settings: Deduplication, seed: int
) -> list[Duplicate]:
    """Return the prompts that duplicate an earlier one, in their order.

    Args:
        prompts: the dominant language's, in the order in which iterations use them.
        settings: whether to find exact duplicates only, or near ones too.
        seed: of MinHash's permutations; the same seed finds the same duplicates.
    """
    if settings.mode == "off":
        return []
    found = _exact(prompts)
    if settings.mode == "near":
        left = [number for number in range(len(prompts)) if number not in found]
        found |= _near(prompts, left, settings.similarity, seed)
    return [
        Duplicate(prompts[number].prompt_id, prompts[earlier].prompt_id, round(similarity, 3))
        for number, (earlier, similarity) in sorted(found.items())
    ]


def without_duplicates(
    prompts: Mapping[str, Sequence[Prompt]], duplicates: Sequence[Duplicate]
) -> dict[str, list[Prompt]]:
    """Return the prompts of each language without duplicates."""
    gone = {each.prompt_id for each in duplicates}
    return {code: [p for p in rows if p.prompt_id not in gone] for code, rows in prompts.items()}


def counts_of(duplicates: Sequence[Duplicate]) -> dict[str, int]:
    """Return the number of exact and of near duplicates."""
    exact = sum(each.similarity == 1 for each in duplicates)
    return {"exact": exact, "near": len(duplicates) - exact}


def note_of_duplicates(duplicates: Sequence[Duplicate], total: int) -> str:
    """Return a sentence about the duplicates among `total` prompts."""
    if not duplicates:
        return f"none of {total:,} prompts repeats an earlier one"
    counts, first = counts_of(duplicates), duplicates[0]
    return (
        f"{len(duplicates):,} of {total:,} prompts are left out, in all languages: "
        f"{counts['exact']:,} repeat an earlier one exactly and {counts['near']:,} nearly, "
        f"first {first.prompt_id!r} like {first.duplicate_of!r}"
    )


def _normalized(text: str) -> str:
    """Return a text for comparison: NFKC, case-folded, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _exact(prompts: Sequence[Prompt]) -> dict[int, tuple[int, float]]:
    """Return the places of prompts that repeat an earlier text, with the earlier place and 1."""
    seen: dict[bytes, int] = {}
    found = {}
    for number, prompt in enumerate(prompts):
        digest = hashlib.blake2b(_normalized(prompt.text).encode(), digest_size=16).digest()
        first = seen.setdefault(digest, number)
        if first != number:
            found[number] = (first, 1.0)
    return found


def _near(
    prompts: Sequence[Prompt], places: Sequence[int], similarity: float, seed: int
) -> dict[int, tuple[int, float]]:
    """Return the near duplicates among these places, with the earlier place and the similarity.

    Texts whose signatures agree in a whole band are compared (Leskovec et al., Mining of Massive
    Datasets, section 3.4); of similar texts, the first one stays.
    """
    from datasketch import MinHashLSH

    signatures = _signatures([prompts[number].text for number in places], seed)
    weights = (1 - _FALSE_NEGATIVE_WEIGHT, _FALSE_NEGATIVE_WEIGHT)
    bands = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS, weights=weights)
    found: dict[int, tuple[int, float]] = {}
    for start in range(0, bands.b * bands.r, bands.r):
        for group in _equal_rows(signatures[:, start : start + bands.r]):
            kept: list[int] = []
            for row in (int(each) for each in group if int(each) not in found):
                agreement = (signatures[kept] == signatures[row]).mean(axis=1)
                if kept and agreement.max() >= similarity:
                    found[row] = (kept[int(agreement.argmax())], float(agreement.max()))
                else:
                    kept.append(row)
    return {places[row]: (places[first], share) for row, (first, share) in found.items()}


def _signatures(texts: Sequence[str], seed: int) -> np.ndarray[Any, Any]:
    """Return the MinHash values of each text, (texts, permutations)."""
    from datasketch import MinHash

    values = np.empty((len(texts), _PERMUTATIONS), dtype=np.uint32)
    shingles = (_shingles(_normalized(text)) for text in texts)
    sketches = MinHash.generator(shingles, num_perm=_PERMUTATIONS, seed=seed % 2**32)
    for row, sketch in enumerate(sketches):
        values[row] = sketch.hashvalues
    return values


def _shingles(text: str) -> list[bytes]:
    last = max(1, len(text) - _SHINGLE_CHARS + 1)
    return [each.encode() for each in {text[at : at + _SHINGLE_CHARS] for at in range(last)}]


def _equal_rows(band: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the numbers of equal rows, group by group, each group in order."""
    whole = np.dtype((np.void, band.dtype.itemsize * band.shape[1]))
    rows = np.ascontiguousarray(band).view(whole).ravel()
    _, inverse, counts = np.unique(rows, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(counts)
    for group in np.flatnonzero(counts > 1):
        yield order[ends[group] - counts[group] : ends[group]]
