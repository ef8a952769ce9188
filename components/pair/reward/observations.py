"""What the reward check observes: whether each measure holds for a pair or a translation."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from lidr.components.pair.candidates import Candidate
from lidr.components.shared.core.languages import UNDETERMINED, UNSPACED
from lidr.components.shared.numbers.answer import all_numbers, extract_number
from lidr.components.shared.records.schema import DropReason, Prompt

MIN_CHARS = 20
"""A shorter text, such as `Paris.`, does not show its language, and may be a copy by chance."""

_MAX_ANSWER_CHARS = 40
"""A longer reference answer with several numbers is a worked solution: its last one counts."""

_LETTER_CLASSES = frozenset({0, 7, 9, *range(84, 133)})
"""Unicode's combining classes of marks that no text leaves out: 0 has most vowel signs, 7 nuktas
and a Burmese tone, 9 viramas, 84 to 132 vowels and tones of Telugu, Thai, Lao and Tibetan."""

_LOAN_NUKTAS = frozenset("\u093c\u0a3c\u0abc")
"""Nuktas of Devanagari, Gurmukhi and Gujarati: of class 7, but often left out of loan words."""

Outcome = tuple[str, bool]
"""The prompt's id, and whether the measure holds."""

_USABLE = (None, DropReason.IDENTICAL)
"""Outcomes that count as usable: kept, or identical sides, which have a limit of their own."""

_WITH_LANGUAGES = (None, DropReason.OFF_TARGET_REJECTED)
"""Outcomes whose languages count: kept, or dropped for the rejected side's language alone."""


@dataclass
class Observations:
    """What was observed in one place: a direction or a language, or several of them pooled.

    Attributes:
        outcomes: by measure.
        round_trips: prompt id and chrF (0 to 100) of each response and its round trip.
        length_ratios: characters of a translation divided by its source's, or of the chosen text
            divided by the rejected one's.
    """

    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    round_trips: list[tuple[str, float]] = field(default_factory=list)
    length_ratios: list[float] = field(default_factory=list)

    def add(self, measure: str, prompt_id: str, outcome: bool | None) -> None:
        """Add one outcome; None, which means that it cannot be told, is left out."""
        if outcome is not None:
            self.outcomes[measure].append((prompt_id, outcome))

    def extend(self, other: Observations) -> None:
        """Add the observations of another place."""
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
    """Add to `seen` whether a candidate is usable, in its language, and right.

    Args:
        seen: the observations of the candidate's place.
        prompt: the prompt in the pair's language, with its reference answer if it has one.
        candidate: the two texts.
        reason: why it is dropped, or None.
        detected: the language of each text (`LanguageIdentifier`).
    """
    prompt_id = candidate.prompt_id
    seen.add("yield", prompt_id, reason in _USABLE)
    if reason in _WITH_LANGUAGES and not candidate.untranslated:
        for side, text in zip(("chosen", "rejected"), sides_of(candidate), strict=True):
            seen.add(f"{side}_on_target", prompt_id, is_in(text, candidate.language, detected))
    if reason is not None or candidate.untranslated:
        return
    right = _sides_right(prompt, candidate)
    if right is not None:
        seen.add("chosen_right", prompt_id, right[0])
        seen.add("rejected_right", prompt_id, right[1])
        seen.add("right", prompt_id, only_chosen(*right))


def is_in(text: str, language: str, detected: Mapping[str, str]) -> bool | None:
    """Tell whether a text is in a language; None if it is too short or its language unclear."""
    found = detected.get(text, UNDETERMINED)
    if len(text) < MIN_CHARS or found == UNDETERMINED:
        return None
    return found == language


def only_chosen(chosen: bool, rejected: bool) -> bool | None:
    """Return True if only the chosen side is right, False if only the rejected one; else None."""
    return chosen if chosen != rejected else None


def _sides_right(prompt: Prompt, candidate: Candidate) -> tuple[bool, bool] | None:
    """Tell whether chosen and rejected end with the prompt's reference answer; None without one."""
    answer = reference_answer(prompt)
    if answer is None:
        return None
    language = candidate.language
    chosen, rejected = (_ends_with(text, answer, language) for text in sides_of(candidate))
    return chosen, rejected


def reference_answer(prompt: Prompt) -> str | None:
    """Return a prompt's reference answer; None without one, or if it has no letter and no digit."""
    return prompt.answer if prompt.answer and _letters(prompt.answer) else None


def _ends_with(text: str, answer: str, language: str) -> bool:
    """Tell whether a text's last numbers are the answer's, or its last words are the answer.

    Answers have their numbers as English writes them, as in evaluation data. In a short answer with
    several numbers, such as 11:30, all of them count; in a worked solution only the last.
    """
    answer = answer.rpartition("####")[2].strip() or answer  # as GSM8K marks it
    parts = all_numbers(answer, "en")
    if len(parts) > 1 and len(answer) <= _MAX_ANSWER_CHARS and "=" not in answer:
        return None not in parts and all_numbers(text, language)[-len(parts) :] == parts
    if (wanted := extract_number(answer, "en")) is not None:
        return extract_number(text, language) == wanted
    ending, letters = _letters(answer), _letters(text)
    if [each for _, each in letters[-len(ending) :]] != [each for _, each in ending]:
        return False
    before = unicodedata.normalize("NFC", text.casefold())[: letters[-len(ending)][0]][-1:]
    inside = before.isalnum() or unicodedata.category(before or " ").startswith("M")
    return not inside or _is_variant(before) or language in UNSPACED


def sides_of(candidate: Candidate) -> tuple[str, str]:
    """Return the chosen and the rejected text, "" for one that is missing."""
    return candidate.chosen or "", candidate.rejected or ""


def _letters(text: str) -> list[tuple[int, str]]:
    """Return a text's letters, their marks and its digits, casefolded, with their places.

    Leaves out marks that a text may have or lack: Arabic's and Hebrew's vowels, the nukta of loan
    words, an emoji's variant.
    """
    folded = unicodedata.normalize("NFC", text.casefold())
    return [(n, each) for n, each in enumerate(folded) if each.isalnum() or _is_letter_mark(each)]


def _is_letter_mark(character: str) -> bool:
    """Return whether a mark counts as a letter: a sign that its script's spelling demands."""
    if unicodedata.category(character) not in ("Mc", "Mn") or _is_variant(character):
        return False
    return unicodedata.combining(character) in _LETTER_CLASSES and character not in _LOAN_NUKTAS


def _is_variant(character: str) -> bool:
    """Tell whether a character chooses how an emoji is drawn."""
    return "\ufe00" <= character <= "\ufe0f"
