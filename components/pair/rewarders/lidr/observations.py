"""What is observed of each translation and pair.

An answer in another language than its prompt's is not the translator's fault: its translation
counts neither as a copy nor as in the wrong language. Copies are counted only where the answer's
language is known: a short text may be one by chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sacrebleu.metrics import CHRF

from lidr.components.pair.candidates import MIN_COMPARED_CHARS, Candidate, Decided
from lidr.components.pair.reward import preservation
from lidr.components.pair.reward.observations import (
    Observations,
    is_in,
    observe_pair,
    only_chosen,
    reference_answer,
    sides_of,
)
from lidr.components.pair.rewarders.lidr.candidates import SampleRecords
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.numbers.answer import extract_number
from lidr.components.shared.numbers.preserved import keeps_numbers
from lidr.components.shared.records.schema import PairKind, Translation


def direction_keys(settings: Recipe) -> list[str]:
    """Return the keys of all directions: `en-es`, then the ways back."""
    dominant, others = settings.languages.dominant, settings.languages.others
    return [f"{dominant}-{code}" for code in others] + [f"{code}-{dominant}" for code in others]


def observe(
    settings: Recipe,
    samples: Sequence[SampleRecords],
    decided: Decided,
    detected: Mapping[str, str],
) -> dict[str, Observations]:
    """Return what is observed, by direction `source-target`.

    A pair counts for the direction into its language.

    Args:
        settings: the recipe.
        samples: the records that the pairs are made from, one element per sample.
        decided: the candidates of the checked prompts with the reason that drops each, or None.
        detected: the language of each text (`LanguageIdentifier`).
    """
    found = {key: Observations() for key in direction_keys(settings)}
    checked = {candidate.prompt_id for candidate, _ in decided}
    for records in samples:
        for (prompt_id, source, target), translation in records.translations.items():
            if translation.text is not None and prompt_id in checked:
                original = records.responses[prompt_id, source].text
                seen = found[f"{source}-{target}"]
                _observe_translation(seen, settings, original, translation, detected)
        for (prompt_id, source, target), score in _round_trips(records, detected):
            found[f"{source}-{target}"].round_trips.append((prompt_id, score))
    for candidate, reason in decided:
        seen = found[f"{candidate.other_language}-{candidate.language}"]
        records = samples[candidate.sample]
        prompt = records.prompts[candidate.prompt_id, candidate.language]
        observe_pair(seen, prompt, candidate, reason, detected)
        compared = candidate.kind is PairKind.TRANSLATION_CHOSEN and not reference_answer(prompt)
        if reason is None and compared and not candidate.untranslated:
            agrees = only_chosen(*_agreeing(records, candidate))
            seen.add("agrees", candidate.prompt_id, agrees)
    return found


def pooled(dominant: str, found: Mapping[str, Observations]) -> dict[str, Observations]:
    """Return observations by direction, then out of and into the dominant language, then of all."""
    out, into, every = f"{dominant}-*", f"*-{dominant}", "*-*"
    pools = {key: Observations() for key in (out, into, every)}
    for key, seen in found.items():
        pools[out if key.startswith(f"{dominant}-") else into].extend(seen)
        pools[every].extend(seen)
    return {**found, **pools}


def _observe_translation(
    seen: Observations,
    settings: Recipe,
    source: str,
    translation: Translation,
    detected: Mapping[str, str],
) -> None:
    text, prompt_id = translation.text or "", translation.prompt_id
    source_language, target_language = translation.source_language, translation.target_language
    answer_in_its_language = is_in(source, source_language, detected)
    if answer_in_its_language is not False:
        seen.add("on_target", prompt_id, is_in(text, target_language, detected))
    if answer_in_its_language:
        seen.add("not_copied", prompt_id, not preservation.is_copy(source, text))
    kept = keeps_numbers(source, source_language, text, target_language)
    seen.add("numbers", prompt_id, kept)
    seen.add("code", prompt_id, preservation.keeps_code(source, text))
    seen.add("links", prompt_id, preservation.keeps_links(source, text))
    seen.add("names", prompt_id, preservation.keeps_names(source, text, source_language))
    longer, shorter = sorted((len(source), len(text)), reverse=True)
    if longer > MIN_COMPARED_CHARS:
        ratio = settings.pairing.max_length_ratio
        seen.add("length", prompt_id, longer <= ratio * shorter)
    seen.length_ratios.append(len(text) / max(len(source), 1))


def _round_trips(
    records: SampleRecords, detected: Mapping[str, str]
) -> Iterator[tuple[tuple[str, str, str], float]]:
    """Yield chrF (0 to 100; Popović 2015) of each response and its round trip.

    Copies and responses in the wrong language are left out.
    """
    metric = CHRF()
    for key, back in records.round_trips.items():
        forth = records.translations.get(key)
        original = records.responses[key[0], key[1]].text
        if back.text is None or forth is None or forth.text is None:
            continue
        off_target = is_in(original, key[1], detected) is False
        if not off_target and not preservation.is_copy(original, forth.text):
            yield key, metric.sentence_score(back.text, [original]).score


def _agreeing(records: SampleRecords, candidate: Candidate) -> tuple[bool, bool]:
    """Tell whether chosen and rejected give the number that the dominant answer gives."""
    dominant = records.responses.get((candidate.prompt_id, candidate.other_language))
    wanted = extract_number(dominant.text, candidate.other_language) if dominant else None
    if wanted is None:
        return False, False
    language = candidate.language
    chosen, rejected = (extract_number(text, language) == wanted for text in sides_of(candidate))
    return chosen, rejected
