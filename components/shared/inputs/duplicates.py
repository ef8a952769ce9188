"""Duplicate prompts: exact ones, and near ones by MinHash (Broder 1997).

The prompts of all iterations are in one list, so a duplicate is left out of every iteration. Only
the dominant language's texts are compared, because an id means the same in every language.

Memory besides the prompts (measured): 0.16 kB a prompt to find exact duplicates, 0.9 kB a prompt to
find near ones, so 0.9 GB for a million prompts.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lidr.components.shared.config.deduplication import Deduplication
from lidr.components.shared.core.text import normalized_text
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
        similarity: estimated Jaccard similarity of their shingles, from 0 to 1.
        exact: whether the texts are equal but for case, white space and Unicode's compatible forms.
    """

    prompt_id: str
    duplicate_of: str
    similarity: float
    exact: bool


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
    repeated = _exact(prompts)
    near: dict[int, tuple[int, float]] = {}
    if settings.mode == "near":
        remaining = [number for number in range(len(prompts)) if number not in repeated]
        near = _near(prompts, remaining, settings.similarity, seed)
    pairs = {number: (first, 1.0) for number, first in repeated.items()} | near
    return [
        Duplicate(
            prompts[number].prompt_id,
            prompts[earlier].prompt_id,
            round(similarity, 3),
            exact=number in repeated,
        )
        for number, (earlier, similarity) in sorted(pairs.items())
    ]


def without_duplicates(
    prompts: Mapping[str, Sequence[Prompt]], duplicates: Sequence[Duplicate]
) -> dict[str, list[Prompt]]:
    """Return the prompts of each language without duplicates."""
    gone = {each.prompt_id for each in duplicates}
    return {code: [p for p in rows if p.prompt_id not in gone] for code, rows in prompts.items()}


def counts_of(duplicates: Sequence[Duplicate]) -> dict[str, int]:
    """Return the number of exact and of near duplicates."""
    exact = sum(each.exact for each in duplicates)
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


def _exact(prompts: Sequence[Prompt]) -> dict[int, int]:
    """Map the index of each prompt that repeats an earlier text to that of the first one."""
    seen: dict[bytes, int] = {}
    found = {}
    for number, prompt in enumerate(prompts):
        digest = hashlib.blake2b(normalized_text(prompt.text).encode(), digest_size=16).digest()
        first = seen.setdefault(digest, number)
        if first != number:
            found[number] = first
    return found


def _near(
    prompts: Sequence[Prompt], indexes: Sequence[int], similarity: float, seed: int
) -> dict[int, tuple[int, float]]:
    """Map each near duplicate among these prompts to the most similar one that stays.

    A text is compared with those that stay and agree with it in a whole band of the signature
    (Leskovec et al., Mining of Massive Datasets, section 3.4); of similar texts, the first stays.

    Args:
        prompts: all prompts.
        indexes: of those to compare, in order.
        similarity: estimated Jaccard similarity from which a text is left out.
        seed: of the permutations.

    Returns:
        By index, the index of the prompt that stays, and the similarity.
    """
    from datasketch import MinHashLSH

    signatures = _signatures([prompts[number].text for number in indexes], seed)
    weights = (1 - _FALSE_NEGATIVE_WEIGHT, _FALSE_NEGATIVE_WEIGHT)
    bands = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS, weights=weights)
    groups = _groups(signatures, bands.b, bands.r)
    staying: dict[int, list[int]] = defaultdict(list)
    found: dict[int, tuple[int, float]] = {}
    for row in np.flatnonzero((groups >= 0).any(axis=0)).tolist():
        own = groups[:, row][groups[:, row] >= 0].tolist()
        rivals = sorted({each for group in own for each in staying.get(group, ())})
        agreement = (signatures[rivals] == signatures[row]).mean(axis=1)
        if rivals and agreement.max() >= similarity:
            first = rivals[int(agreement.argmax())]
            found[indexes[row]] = (indexes[first], float(agreement.max()))
            continue
        for group in own:
            staying[group].append(row)
    return found


def _groups(signatures: np.ndarray[Any, Any], bands: int, rows: int) -> np.ndarray[Any, Any]:
    """Return by band and text the group of texts that agree in it, (bands, texts); -1 for none."""
    groups = np.full((bands, len(signatures)), -1, dtype=np.int64)
    whole = np.dtype((np.void, signatures.dtype.itemsize * rows))
    for band in range(bands):
        values = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        _, group, sizes = np.unique(
            values.view(whole).ravel(), return_inverse=True, return_counts=True
        )
        shared = sizes[group] > 1
        groups[band, shared] = group[shared] + band * len(signatures)
    return groups


def _signatures(texts: Sequence[str], seed: int) -> np.ndarray[Any, Any]:
    """Return the MinHash values of each text, (texts, permutations)."""
    from datasketch import MinHash

    values = np.empty((len(texts), _PERMUTATIONS), dtype=np.uint32)
    shingles = (_shingles(normalized_text(text)) for text in texts)
    sketches = MinHash.generator(shingles, num_perm=_PERMUTATIONS, seed=seed % 2**32)
    for row, sketch in enumerate(sketches):
        values[row] = sketch.hashvalues
    return values


def _shingles(text: str) -> list[bytes]:
    last = max(1, len(text) - _SHINGLE_CHARS + 1)
    return [each.encode() for each in {text[at : at + _SHINGLE_CHARS] for at in range(last)}]
