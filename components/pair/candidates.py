"""A chosen and a rejected text for one prompt, before any filter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from lidr.components.shared.records.schema import DropReason, Failure, PairKind

ANSWER_REASONS: Mapping[str, DropReason] = {
    Failure.TRUNCATED: DropReason.TRUNCATED,
    Failure.REPETITION: DropReason.REPETITION,
    Failure.EMPTY: DropReason.EMPTY,
}
"""By the failure of an answer, why no pair is made of it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chosen and a rejected text for one prompt.

    Attributes:
        unanswered: why an answer behind the texts is missing, or none is better than another.
        cut: how an answer behind the texts ran into max_tokens.
        failure: why a translation is missing.
        cut_sides: which of `chosen` and `rejected` such an answer is, or is translated from.
        untranslated: the prompt is about translation, so chosen is the dominant response as it is,
            in whatever language the prompt asked for.
        raw: what the model wrote where its translation failed or was recovered.
        recovered: the rule by which it was (`Recovery`).
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
        """Why one of the texts is missing; None where both are there."""
        return self.unanswered or self.failure

    @property
    def identical(self) -> bool:
        """Chosen and rejected are the same but for white space."""
        return (self.chosen or "").split() == (self.rejected or "").split()

    def exchanged(self) -> Candidate:
        """Return the candidate with its sides exchanged: the control that must not help."""
        other = {"chosen": "rejected", "rejected": "chosen"}
        cut = tuple(other[side] for side in self.cut_sides)
        return replace(self, chosen=self.rejected, rejected=self.chosen, cut_sides=cut)
