"""What is seen of each translation and pair: one outcome each, True where it is as it should be.

An answer in another language than its prompt's is no fault of the translator: what became of it
counts neither as a copy nor as in the wrong language.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sacrebleu.metrics import CHRF

from lidr.components.pair.candidates import Candidate, Sources
from lidr.components.pair.reward import preservation
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.languages import UNDETERMINED
from lidr.components.shared.numbers.answer import extract_number
from lidr.components.shared.numbers.preserved import keeps_numbers
from lidr.components.shared.records.schema import DropReason, Kind, Translation

MIN_CHARS = 20
"""Characters from which a text shows its language, and is no copy by chance: not `Paris.`"""

OUTLIER_CHARS = 100
"""Characters from which the lengths of a text and its translation are compared, as filters do."""

Outcome = tuple[str, bool]
"""The prompt's id, and whether the thing is as it should be."""

_USABLE = (None, DropReason.IDENTICAL)
_SIDES_FIT = (None, DropReason.OFF_TARGET_REJECTED)


@dataclass
class Observations:
    """Of one direction, source to target, or of several together.

    Attributes:
        outcomes: by measure.
        round_trips: chrF of each response and its round trip, with the prompt's id.
        length_ratios: of translation and source, in characters.
    """

    outcomes: dict[str, list[Outcome]] = field(default_factory=lambda: defaultdict(list))
    round_trips: list[tuple[str, float]] = field(default_factory=list)
    length_ratios: list[float] = field(default_factory=list)

    def add(self, measure: str, prompt_id: str, outcome: bool | None) -> None:
        """Add one outcome; None is none."""
        if outcome is not None:
            self.outcomes[measure].append((prompt_id, outcome))

    def take(self, other: Observations) -> None:
        """Add those of another direction."""
        for measure, found in other.outcomes.items():
            self.outcomes[measure].extend(found)
        self.round_trips.extend(other.round_trips)
        self.length_ratios.extend(other.length_ratios)


def directions(settings: Recipe) -> list[str]:
    """Return the keys of all directions: `en-es`, then the ways back."""
    dominant, others = settings.languages.dominant, settings.languages.others
    return [f"{dominant}-{code}" for code in others] + [f"{code}-{dominant}" for code in others]


def observe(
    settings: Recipe,
    samples: Sequence[Sources],
    decided: Sequence[tuple[Candidate, DropReason | None]],
    detected: Mapping[str, str],
) -> dict[str, Observations]:
    """Return what is seen, by direction `source-target`.

    Args:
        settings: the recipe.
        samples: the records that the pairs are made of, one element a sample.
        decided: the candidates with the reason that drops each, or None.
        detected: the language of each text (`LanguageIdentifier`).
    """
    found = {key: Observations() for key in directions(settings)}
    for sources in samples:
        for (prompt_id, source, target), translation in sources.translations.items():
            if translation.text is not None:
                original = sources.responses[prompt_id, source].text
                seen = found[f"{source}-{target}"]
                _translated(seen, settings, original, translation, detected)
        for (prompt_id, source, target), score in _round_trips(sources, detected):
            found[f"{source}-{target}"].round_trips.append((prompt_id, score))
    for candidate, reason in decided:
        seen = found[f"{candidate.other_language}-{candidate.language}"]
        _paired(seen, samples[candidate.sample], candidate, reason, detected)
    return found


def _translated(
    seen: Observations,
    settings: Recipe,
    source: str,
    translation: Translation,
    detected: Mapping[str, str],
) -> None:
    text, prompt_id = translation.text or "", translation.prompt_id
    if _is_in(source, translation.source_language, detected) is not False:
        seen.add("on_target", prompt_id, _is_in(text, translation.target_language, detected))
    if _is_in(source, translation.source_language, detected):
        seen.add("not_copied", prompt_id, not preservation.is_copy(source, text))
    spoken, target = translation.source_language, translation.target_language
    seen.add("numbers", prompt_id, keeps_numbers(source, spoken, text, target))
    seen.add("code", prompt_id, preservation.keeps_code(source, text))
    seen.add("links", prompt_id, preservation.keeps_links(source, text))
    names = preservation.keeps_names(source, text, translation.source_language)
    seen.add("names", prompt_id, names)
    longer, shorter = sorted((len(source), len(text)), reverse=True)
    if longer > OUTLIER_CHARS:
        ratio = settings.pairing.max_length_ratio
        seen.add("length", prompt_id, longer <= ratio * shorter)
    seen.length_ratios.append(len(text) / max(len(source), 1))


def _round_trips(
    sources: Sources, detected: Mapping[str, str]
) -> Iterator[tuple[tuple[str, str, str], float]]:
    """Yield chrF (0 to 100; Popović 2015) of responses and round trips; a copy loses nothing."""
    metric = CHRF()
    for key, back in sources.round_trips.items():
        forth = sources.translations.get(key)
        original = sources.responses[key[0], key[1]].text
        if back.text is None or forth is None or forth.text is None:
            continue
        if _is_in(original, key[1], detected) is False:
            continue
        if not preservation.is_copy(original, forth.text):
            yield key, metric.sentence_score(back.text, [original]).score


def _paired(
    seen: Observations,
    sources: Sources,
    candidate: Candidate,
    reason: DropReason | None,
    detected: Mapping[str, str],
) -> None:
    prompt_id = candidate.prompt_id
    seen.add("yield", prompt_id, reason in _USABLE)
    if reason in _SIDES_FIT and not candidate.untranslated:
        for side, text in zip(("chosen", "rejected"), _sides(candidate), strict=True):
            seen.add(f"{side}_on_target", prompt_id, _is_in(text, candidate.language, detected))
    if reason is not None or candidate.untranslated:
        return
    right = _right(sources, candidate)
    if right is None:
        if candidate.kind is Kind.TRANSLATION_CHOSEN:
            seen.add("agrees", prompt_id, _only_chosen(*_agreeing(sources, candidate)))
        return
    seen.add("chosen_right", prompt_id, right[0])
    seen.add("rejected_right", prompt_id, right[1])
    seen.add("right", prompt_id, _only_chosen(*right))


def _is_in(text: str, language: str, detected: Mapping[str, str]) -> bool | None:
    """Tell whether a text is in a language; None where it shows none."""
    found = detected.get(text, UNDETERMINED)
    if len(text) < MIN_CHARS or found == UNDETERMINED:
        return None
    return found == language


def _only_chosen(chosen: bool, rejected: bool) -> bool | None:
    """Return True where only the chosen side is right, False where only the rejected one is."""
    return chosen if chosen != rejected else None


def _right(sources: Sources, candidate: Candidate) -> tuple[bool, bool] | None:
    """Tell whether chosen and rejected end with the prompt's reference answer; None without one."""
    answer = sources.prompts[candidate.prompt_id, candidate.language].answer
    if not answer or not answer.strip():
        return None
    language = candidate.language
    chosen, rejected = (_ends_with(text, answer, language) for text in _sides(candidate))
    return chosen, rejected


def _ends_with(text: str, answer: str, language: str) -> bool:
    """Tell whether a text gives the answer's number; without one, whether its end is the answer."""
    if (wanted := extract_number(answer, language)) is not None:
        return extract_number(text, language) == wanted
    return _plain(text).endswith(_plain(answer))


def _agreeing(sources: Sources, candidate: Candidate) -> tuple[bool, bool]:
    """Tell whether chosen and rejected give the number that the dominant answer gives."""
    strong = sources.responses.get((candidate.prompt_id, candidate.other_language))
    wanted = extract_number(strong.text, candidate.other_language) if strong else None
    if wanted is None:
        return False, False
    language = candidate.language
    chosen, rejected = (extract_number(text, language) == wanted for text in _sides(candidate))
    return chosen, rejected


def _sides(candidate: Candidate) -> tuple[str, str]:
    return candidate.chosen or "", candidate.rejected or ""


def _plain(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())
