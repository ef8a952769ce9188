"""What is seen of each pair: one outcome a measure, True where it is as it should be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from lidr.components.pair.candidates import Candidate
from lidr.components.shared.core.languages import UNDETERMINED
from lidr.components.shared.numbers.answer import extract_number
from lidr.components.shared.records.schema import DropReason, Prompt

MIN_CHARS = 20
"""Characters from which a text shows its language, and is no copy by chance: not `Paris.`"""

Outcome = tuple[str, bool]
"""The prompt's id, and whether the thing is as it should be."""

_USABLE = (None, DropReason.IDENTICAL)
_SIDES_FIT = (None, DropReason.OFF_TARGET_REJECTED)


@dataclass
class Observations:
    """Of one place (a direction, source to target, or a language), or of several together.

    Attributes:
        outcomes: by measure.
        round_trips: chrF of each response and its round trip, with the prompt's id.
        length_ratios: in characters, of a translation and its source, or of the sides of a pair.
    """

    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    round_trips: list[tuple[str, float]] = field(default_factory=list)
    length_ratios: list[float] = field(default_factory=list)

    def add(self, measure: str, prompt_id: str, outcome: bool | None) -> None:
        """Add one outcome; None is none."""
        if outcome is not None:
            self.outcomes[measure].append((prompt_id, outcome))

    def take(self, other: Observations) -> None:
        """Add those of another place."""
        for measure, found in other.outcomes.items():
            self.outcomes[measure].extend(found)
        self.round_trips.extend(other.round_trips)
        self.length_ratios.extend(other.length_ratios)


def observe_pair(
    seen: Observations,
    prompt: Prompt,
    candidate: Candidate,
    reason: DropReason | None,
    detected: Mapping[str, str],
) -> None:
    """Add what is seen of a candidate: whether it is used, in which language, and right.

    Args:
        seen: of its place.
        prompt: in the pair's language, with its reference answer where it has one.
        candidate: the two texts.
        reason: why it is dropped, or None.
        detected: the language of each text (`LanguageIdentifier`).
    """
    prompt_id = candidate.prompt_id
    seen.add("yield", prompt_id, reason in _USABLE)
    if reason in _SIDES_FIT and not candidate.untranslated:
        for side, text in zip(("chosen", "rejected"), sides_of(candidate), strict=True):
            seen.add(f"{side}_on_target", prompt_id, is_in(text, candidate.language, detected))
    if reason is not None or candidate.untranslated:
        return
    right = _right(prompt, candidate)
    if right is not None:
        seen.add("chosen_right", prompt_id, right[0])
        seen.add("rejected_right", prompt_id, right[1])
        seen.add("right", prompt_id, only_chosen(*right))


def is_in(text: str, language: str, detected: Mapping[str, str]) -> bool | None:
    """Tell whether a text is in a language; None where it shows none."""
    found = detected.get(text, UNDETERMINED)
    if len(text) < MIN_CHARS or found == UNDETERMINED:
        return None
    return found == language


def only_chosen(chosen: bool, rejected: bool) -> bool | None:
    """Return True where only the chosen side is right, False where only the rejected one is."""
    return chosen if chosen != rejected else None


def _right(prompt: Prompt, candidate: Candidate) -> tuple[bool, bool] | None:
    """Tell whether chosen and rejected end with the prompt's reference answer; None without one."""
    answer = prompt.answer
    if not has_answer(prompt) or answer is None:
        return None
    language = candidate.language
    chosen, rejected = (_ends_with(text, answer, language) for text in sides_of(candidate))
    return chosen, rejected


def has_answer(prompt: Prompt) -> bool:
    """Tell whether a prompt has a reference answer."""
    return bool(prompt.answer and prompt.answer.strip())


def _ends_with(text: str, answer: str, language: str) -> bool:
    """Tell whether a text gives the answer's number; without one, whether its end is the answer."""
    if (wanted := extract_number(answer, language)) is not None:
        return extract_number(text, language) == wanted
    return _plain(text).endswith(_plain(answer))


def sides_of(candidate: Candidate) -> tuple[str, str]:
    """Return the chosen and the rejected text, "" for one that is missing."""
    return candidate.chosen or "", candidate.rejected or ""


def _plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
