"""A chosen and a rejected text for one prompt, before any filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lidr.components.shared.records.schema import DropReason, Failure, PairKind

ANSWER_REASONS: Mapping[str, DropReason] = {
    Failure.TRUNCATED: DropReason.TRUNCATED,
    Failure.REPETITION: DropReason.REPETITION,
    Failure.EMPTY: DropReason.EMPTY,
}
"""The reason to drop a pair, by the failure of one of its answers."""

MIN_COMPARED_CHARS = 100
"""The lengths of two texts are compared only if the longer one has more characters than this."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chosen and a rejected text for one prompt.

    Attributes:
        unanswered: why one of the answers is missing, or none is better than another.
        cut: how one of the answers ran into max_tokens.
        failure: why a translation is missing.
        cut_sides: which of `chosen` and `rejected` are such an answer or its translation.
        untranslated: the prompt is about translation, so chosen is the dominant response as it is,
            in whatever language the prompt asked for.
        raw: what the model wrote, if its translation failed or was recovered.
        recovered: the rule that recovered the translation (`Recovery`).
    """

    prompt_id: str
    language: str
    other_language: str
    kind: PairKind
    prompt: str
    chosen: str | None
    rejected: str | None
    unanswered: DropReason | None = None
    cut: DropReason | None = None
    failure: DropReason | None = None
    cut_sides: tuple[str, ...] = ()
    untranslated: bool = False
    sample: int = 0
    raw: str | None = None
    recovered: str | None = None

    @property
    def missing(self) -> DropReason | None:
        """Why one of the texts is missing, or neither is better; None otherwise."""
        return self.unanswered or self.failure

    @property
    def identical(self) -> bool:
        """Whether chosen and rejected are the same but for white space."""
        return (self.chosen or "").split() == (self.rejected or "").split()

    def swapped(self) -> Candidate:
        """Return the candidate with its sides swapped, for a control experiment."""
        other = {"chosen": "rejected", "rejected": "chosen"}
        cut = tuple(other[side] for side in self.cut_sides)
        return replace(self, chosen=self.rejected, rejected=self.chosen, cut_sides=cut)


Decided = Sequence[tuple[Candidate, DropReason | None]]
"""Candidates, each with the reason that drops it, or None."""
