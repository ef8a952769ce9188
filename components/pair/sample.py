"""Bounded samples of the candidates: for people to read, and for the reward check."""

from __future__ import annotations

from collections import defaultdict
from heapq import nsmallest
from itertools import chain, zip_longest

from lidr.components.pair.candidates import Candidate, Decided
from lidr.components.shared.records.samples import PairSample, sampling_order
from lidr.components.shared.records.schema import DropReason

_MAX_CANDIDATES = 4000
_MAX_CHARS = 12_000_000
"""Most characters of all texts together: about 12 MB, compressed to a third of that."""

_MAX_CHECKED_PROMPTS = 4000
"""Enough to measure shares to within a percent or two in each direction. Checking the translations
of one prompt into 19 languages, and back, takes a core some 0.2 seconds."""


def checked_sample(decided: Decided) -> Decided:
    """Return the candidates of the prompts that the reward check looks at, in the given order."""
    prompts = {candidate.prompt_id for candidate, _ in decided}
    checked = nsmallest(
        _MAX_CHECKED_PROMPTS, prompts, key=lambda each: (sampling_order(each), each)
    )
    kept = prompts.intersection(checked)
    return [each for each in decided if each[0].prompt_id in kept]


def sample_of(decided: Decided) -> list[PairSample]:
    """Return a sample of the candidates, in turn from each language, partner, kind and outcome.

    Within these groups, candidates whose sides differ come first, in `sampling_order` of prompts.
    """
    groups: dict[tuple[str, ...], list[tuple[Candidate, DropReason | None]]] = defaultdict(list)
    for candidate, reason in decided:
        languages = candidate.language, candidate.other_language
        groups[*languages, str(candidate.kind), str(reason or "")].append((candidate, reason))
    drawn = [
        nsmallest(_MAX_CANDIDATES, group, key=lambda each: _order(each[0]))
        for group in groups.values()
    ]
    shown: list[PairSample] = []
    room = _MAX_CHARS
    for turn in filter(None, chain.from_iterable(zip_longest(*drawn))):
        sample = _sample(*turn)
        texts = (sample.prompt, sample.chosen, sample.rejected, sample.raw)
        room -= sum(len(text or "") for text in texts)
        if room < 0 or len(shown) == _MAX_CANDIDATES:
            break
        shown.append(sample)
    return shown


def _order(candidate: Candidate) -> tuple[bool, int, str, int]:
    prompt_id = candidate.prompt_id
    return candidate.identical, sampling_order(prompt_id), prompt_id, candidate.sample


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
