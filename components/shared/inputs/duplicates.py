"""Prompts that say what an earlier one says: found exactly, and nearly by MinHash (Broder 1997).

One list holds the prompts of all iterations, so an id that leaves it comes in none of them. The
dominant language's texts alone are compared: an id means the same in every language.

Beside the prompts themselves each takes 0.16 kB where texts are compared exactly, and 0.8 kB where
nearly equal ones count too (measured): 0.8 GB for a million.
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
_PIECE_CHARS = 5
_MISSES_COST = 0.9
"""Of a pair that no band brings together, against that of one which is compared for nothing."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A prompt that is left out.

    Attributes:
        prompt_id: of it.
        duplicate_of: the earlier prompt.
        similarity: estimated share of pieces in common; 1 for texts that are equal.
    """

    prompt_id: str
    duplicate_of: str
    similarity: float


def find_duplicates(
    prompts: Sequence[Prompt], settings: Deduplication, seed: int
) -> list[Duplicate]:
    """Return the prompts that say what an earlier one says, in their order.

    Args:
        prompts: the dominant language's, in the order in which iterations take them.
        settings: whether exactly equal ones are meant, or nearly equal ones too.
        seed: of MinHash's permutations; the same one finds the same prompts.
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
    """Return the prompts of each language without those that are left out."""
    gone = {each.prompt_id for each in duplicates}
    return {code: [p for p in rows if p.prompt_id not in gone] for code, rows in prompts.items()}


def counts_of(duplicates: Sequence[Duplicate]) -> dict[str, int]:
    """Return how many prompts are left out, by how."""
    exact = sum(each.similarity == 1 for each in duplicates)
    return {"exact": exact, "near": len(duplicates) - exact}


def note_of_duplicates(duplicates: Sequence[Duplicate], total: int) -> str:
    """Return a sentence on what is left out of so many prompts."""
    if not duplicates:
        return f"none of {total:,} prompts says what an earlier one says"
    counts, first = counts_of(duplicates), duplicates[0]
    return (
        f"{len(duplicates):,} of {total:,} prompts are left out, in all languages: "
        f"{counts['exact']:,} say exactly and {counts['near']:,} nearly what an earlier one says, "
        f"first {first.prompt_id!r} like {first.duplicate_of!r}"
    )


def _normal(text: str) -> str:
    """Return a text as it is compared: one form of each character, no case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _exact(prompts: Sequence[Prompt]) -> dict[int, tuple[int, float]]:
    """Return the places of prompts whose text was there before, each with where and 1."""
    seen: dict[bytes, int] = {}
    found = {}
    for number, prompt in enumerate(prompts):
        digest = hashlib.blake2b(_normal(prompt.text).encode(), digest_size=16).digest()
        first = seen.setdefault(digest, number)
        if first != number:
            found[number] = (first, 1.0)
    return found


def _near(
    prompts: Sequence[Prompt], places: Sequence[int], similarity: float, seed: int
) -> dict[int, tuple[int, float]]:
    """Return which of these places say nearly what an earlier one of them says.

    Texts whose signatures agree in a whole band are compared (Leskovec et al., Mining of Massive
    Datasets, section 3.4); of those that agree, the first one stays.
    """
    from datasketch import MinHashLSH

    signatures = _signatures([prompts[number].text for number in places], seed)
    weights = (1 - _MISSES_COST, _MISSES_COST)
    bands = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS, weights=weights)
    found: dict[int, tuple[int, float]] = {}
    for start in range(0, bands.b * bands.r, bands.r):
        for group in _groups(signatures[:, start : start + bands.r]):
            kept: list[int] = []
            for row in (int(each) for each in group if int(each) not in found):
                agreement = (signatures[kept] == signatures[row]).mean(axis=1)
                if kept and agreement.max() >= similarity:
                    found[row] = (kept[int(agreement.argmax())], float(agreement.max()))
                else:
                    kept.append(row)
    return {places[row]: (places[first], share) for row, (first, share) in found.items()}


def _signatures(texts: Sequence[str], seed: int) -> np.ndarray[Any, Any]:
    """Return a row of MinHash values for each text."""
    from datasketch import MinHash

    found = np.empty((len(texts), _PERMUTATIONS), dtype=np.uint32)
    pieces = (_pieces(_normal(text)) for text in texts)
    sketches = MinHash.generator(pieces, num_perm=_PERMUTATIONS, seed=seed % 2**32)
    for row, sketch in enumerate(sketches):
        found[row] = sketch.hashvalues
    return found


def _pieces(text: str) -> list[bytes]:
    last = max(1, len(text) - _PIECE_CHARS + 1)
    return [piece.encode() for piece in {text[at : at + _PIECE_CHARS] for at in range(last)}]


def _groups(band: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """Yield the rows that are equal to others, in their order."""
    whole = np.dtype((np.void, band.dtype.itemsize * band.shape[1]))
    rows = np.ascontiguousarray(band).view(whole).ravel()
    _, inverse, counts = np.unique(rows, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    ends = np.cumsum(counts)
    for group in np.flatnonzero(counts > 1):
        yield order[ends[group] - counts[group] : ends[group]]
