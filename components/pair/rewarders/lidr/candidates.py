"""Candidates of the rewarder lidr: an answer, and the model's translation of another answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lidr.components.pair.candidates import ANSWER_REASONS, Candidate
from lidr.components.pair.rewarders.prompts import answered_prompts
from lidr.components.shared.config.recipe import Languages, Recipe
from lidr.components.shared.records.schema import (
    CUT_SHORT,
    DropReason,
    Failure,
    PairKind,
    Prompt,
    Response,
    Translation,
)
from lidr.components.shared.store.stage import Stage, open_stage

Side = Response | Translation | None

_NO_ANSWER = (Failure.PROMPT_TOO_LONG, Failure.ENGINE_REJECTED)


@dataclass(frozen=True)
class SampleRecords:
    """The records from which the pairs of the i-th responses are made.

    Attributes:
        prompts: the prompts that were answered in any language; by (prompt_id, language).
        responses: by (prompt_id, language).
        translations: by (prompt_id, source, target).
        round_trips: the translations back; by (prompt_id, source, target) of the first leg.
    """

    prompts: dict[tuple[str, str], Prompt]
    responses: dict[tuple[str, str], Response]
    translations: dict[tuple[str, str, str], Translation]
    round_trips: dict[tuple[str, str, str], Translation]


def read_samples(
    settings: Recipe, inputs: str, responses: str, translations: str
) -> list[SampleRecords]:
    """Read the records of three stages by their URIs; one element for each sample."""
    answered, translated = open_stage(responses), open_stage(translations)
    answers: list[Response] = _records(answered, "responses/", Response)
    translations_made: list[Translation] = _records(translated, "translations/", Translation)
    round_trips: list[Translation] = _records(translated, "round_trip/", Translation)
    asked = answered_prompts(inputs, settings.languages.all, answers)
    samples = [SampleRecords(asked, {}, {}, {}) for _ in range(settings.generation.samples)]
    for r in answers:
        samples[r.sample].responses[r.prompt_id, r.language] = r
    for t in translations_made:
        key = (t.prompt_id, t.source_language, t.target_language)
        samples[t.sample].translations[key] = t
    for t in round_trips:
        key = (t.prompt_id, t.target_language, t.source_language)
        samples[t.sample].round_trips[key] = t
    return samples


def candidates(languages: Languages, samples: Sequence[SampleRecords]) -> list[Candidate]:
    """Return the two candidates of every prompt and other language, failed ones included.

    In language l the translated dominant response is chosen over the response in l; in the dominant
    language the dominant response is chosen over the one translated from l (paper, section 3.2).
    With several samples, the i-th responses of both languages are paired.
    """
    answered = [
        list(dict.fromkeys(prompt_id for prompt_id, _ in records.responses)) for records in samples
    ]
    return [
        candidate
        for other in languages.others
        for sample, records in enumerate(samples)
        for prompt_id in answered[sample]
        for candidate in _both_ways(records, sample, prompt_id, languages.dominant, other)
    ]


def _both_ways(
    records: SampleRecords, sample: int, prompt_id: str, dominant: str, other: str
) -> Iterator[Candidate]:
    """Yield the candidate in the other language, then the one in the dominant language."""
    answers = (
        records.responses.get((prompt_id, dominant)),
        records.responses.get((prompt_id, other)),
    )
    from_dominant, own = answers
    into_other = records.translations.get((prompt_id, dominant, other))
    into_dominant = records.translations.get((prompt_id, other, dominant))
    task = records.prompts[prompt_id, dominant].translation_task
    yield _candidate(
        records.prompts[prompt_id, other],
        sample,
        dominant,
        PairKind.TRANSLATION_CHOSEN,
        (from_dominant if task else into_other, own),
        answers,
        task,
    )
    yield _candidate(
        records.prompts[prompt_id, dominant],
        sample,
        other,
        PairKind.OWN_CHOSEN,
        (from_dominant, None if task else into_dominant),
        answers,
        task,
    )


def _candidate(
    prompt: Prompt,
    sample: int,
    partner: str,
    kind: PairKind,
    sides: tuple[Side, Side],
    answers: tuple[Response | None, Response | None],
    task: bool,
) -> Candidate:
    """Return a candidate, with the reasons why a text is missing.

    Args:
        prompt: the prompt in the pair's language.
        sample: number of the sample, from 0.
        partner: the other of the two languages.
        kind: TRANSLATION_CHOSEN or OWN_CHOSEN.
        sides: chosen and rejected.
        answers: the answers behind the sides: in the dominant language, then in the other one.
        task: whether the prompt is about translation.
    """
    chosen, rejected = sides
    no_pair = task and kind is PairKind.OWN_CHOSEN  # answers to such prompts are not translated
    translated = next((side for side in sides if isinstance(side, Translation)), None)
    cuts = [each.failure for each in answers if each and each.failure in CUT_SHORT]
    return Candidate(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        other_language=partner,
        kind=kind,
        prompt=prompt.text,
        chosen=chosen.text if chosen else None,
        rejected=rejected.text if rejected else None,
        unanswered=DropReason.TRANSLATION_TASK if no_pair else _unanswered(answers),
        cut=ANSWER_REASONS[cuts[0]] if cuts else None,
        failure=None if no_pair else _failure(sides, answers),
        cut_sides=_cut_sides(sides, answers),
        untranslated=task and not no_pair,
        sample=sample,
        raw=(translated and translated.raw) or None,
        recovered=(translated and translated.recovered) or None,
    )


def _cut_sides(sides: tuple[Side, Side], answers: Sequence[Response | None]) -> tuple[str, ...]:
    """Return which sides are a cut answer or its translation."""
    cut = {each.language for each in answers if each and each.failure in CUT_SHORT}
    origins = [
        side.source_language if isinstance(side, Translation) else side and side.language
        for side in sides
    ]
    return tuple(
        name for name, origin in zip(("chosen", "rejected"), origins, strict=True) if origin in cut
    )


def _unanswered(answers: Sequence[Response | None]) -> DropReason | None:
    if any(each is None or each.failure in _NO_ANSWER for each in answers):
        return DropReason.MISSING_PARTNER
    unclosed = any(each and each.failure == Failure.UNCLOSED_THOUGHT for each in answers)
    return DropReason.UNCLOSED_THOUGHT if unclosed else None


def _failure(sides: Sequence[Side], answers: Sequence[Response | None]) -> DropReason | None:
    """Return why a side is missing; for a translation of a failed answer, why the answer failed."""
    for side in sides:
        if side is None:
            return DropReason.MISSING_PARTNER
        if isinstance(side, Translation) and side.failure == Failure.SOURCE_FAILED:
            causes = {a.language: a.failure for a in answers if a}
            cause = causes.get(side.source_language)
            return ANSWER_REASONS.get(cause or "", DropReason.MISSING_PARTNER)
        if isinstance(side, Translation) and side.failure:
            return DropReason.TRANSLATION_FAILED
    return None


def _records(stage: Stage, prefix: str, kind: type) -> list[Any]:
    return stage.read_records(stage.files(prefix=prefix), kind)
