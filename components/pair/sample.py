"""Which candidates people get to read: a bounded sample, texts included, dropped ones too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from heapq import nsmallest
from itertools import chain, zip_longest

from lidr.components.pair.candidates import Candidate
from lidr.components.shared.records.samples import PairSample, sampling_order
from lidr.components.shared.records.schema import DropReason

_MAX_CANDIDATES = 4000
_CHARACTERS = 12_000_000
"""Of all texts together: about 12 MB, zstd makes a third of it."""

Group = tuple[str, str, str, str]


def sample_of(decided: Sequence[tuple[Candidate, DropReason | None]]) -> list[PairSample]:
    """Return candidates in turn from every language, partner, kind and outcome.

    Within a group they are drawn by lot from their prompt ids; those that differ come first.

    Args:
        decided: every candidate with the reason that drops it, or None.
    """
    groups: dict[Group, list[tuple[Candidate, DropReason | None]]] = defaultdict(list)
    for candidate, reason in decided:
        languages = candidate.language, candidate.other_language
        groups[*languages, str(candidate.kind), str(reason or "")].append((candidate, reason))
    drawn = [
        nsmallest(_MAX_CANDIDATES, group, key=lambda each: _order(each[0]))
        for group in groups.values()
    ]
    shown: list[PairSample] = []
    room = _CHARACTERS
    for turn in chain.from_iterable(zip_longest(*drawn)):
        if turn is None:
            continue
        sample = _sample(*turn)
        room -= sum(len(text or "") for text in _texts(sample))
        if room < 0 or len(shown) == _MAX_CANDIDATES:
            break
        shown.append(sample)
    return shown


def _texts(sample: PairSample) -> tuple[str | None, ...]:
    return sample.prompt, sample.chosen, sample.rejected, sample.raw


def _order(candidate: Candidate) -> tuple[bool, int, str, int]:
    identity = candidate.prompt_id, candidate.sample
    return candidate.identical, sampling_order(candidate.prompt_id), *identity


def _sample(candidate: Candidate, reason: DropReason | None) -> PairSample:
    return PairSample(
        prompt_id=candidate.prompt_id,
        language=candidate.language,
        other_language=candidate.other_language,
        kind=candidate.kind,
        sample=candidate.sample,
        reason=reason,
        prompt=candidate.prompt,
        chosen=candidate.chosen,
        rejected=candidate.rejected,
        raw=candidate.raw,
        recovered=candidate.recovered,
    )
