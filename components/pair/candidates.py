"""Which texts stand against each other, before any filter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lidr.components.shared.config.recipe import Languages, Recipe
from lidr.components.shared.records.schema import (
    CUT_SHORT,
    DropReason,
    Failure,
    Kind,
    Prompt,
    Response,
    Translation,
)
from lidr.components.shared.store.stage import Stage, open_stage


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chosen and a rejected text for one prompt.

    Attributes:
        failure: why one of the texts is missing.
        untranslated: the prompt is about translation, so chosen is the dominant response as it is,
            in whatever language the prompt asked for.
    """

    prompt_id: str
    language: str
    other_language: str
    kind: Kind
    prompt: str
    chosen: str | None
    rejected: str | None
    truncated: bool
    failure: DropReason | None = None
    untranslated: bool = False
    sample: int = 0

    @property
    def identical(self) -> bool:
        """Chosen and rejected are the same but for white space."""
        return (self.chosen or "").split() == (self.rejected or "").split()

    def exchanged(self) -> Candidate:
        """Return the candidate with its sides exchanged: the control that must not help."""
        return replace(self, chosen=self.rejected, rejected=self.chosen)


@dataclass(frozen=True)
class Sources:
    """Everything the pairs of one sample of responses are made of, by id.

    Attributes:
        prompts: by (prompt_id, language).
        responses: by (prompt_id, language).
        translations: by (prompt_id, source, target).
        round_trips: the translations back; by (prompt_id, source, target) of the first leg.
    """

    prompts: dict[tuple[str, str], Prompt]
    responses: dict[tuple[str, str], Response]
    translations: dict[tuple[str, str, str], Translation]
    round_trips: dict[tuple[str, str, str], Translation]


def read_sources(settings: Recipe, inputs: str, responses: str, translations: str) -> list[Sources]:
    """Read the records of three stages by their URIs; one element for each sample."""
    answered, translated = open_stage(responses), open_stage(translations)
    files = [f"prompts/{code}.parquet" for code in settings.languages.all]
    prompts: list[Prompt] = open_stage(inputs).read_records(files, Prompt)
    answers: list[Response] = _all(answered, "responses/", Response)
    first: list[Translation] = _all(translated, "translations/", Translation)
    back: list[Translation] = _all(translated, "round_trip/", Translation)
    asked = {(p.prompt_id, p.language): p for p in prompts}
    samples = [Sources(asked, {}, {}, {}) for _ in range(settings.generation.samples)]
    for r in answers:
        samples[r.sample].responses[r.prompt_id, r.language] = r
    for t in first:
        key = (t.prompt_id, t.source_language, t.target_language)
        samples[t.sample].translations[key] = t
    for t in back:
        key = (t.prompt_id, t.target_language, t.source_language)
        samples[t.sample].round_trips[key] = t
    return samples


def candidates(languages: Languages, samples: Sequence[Sources]) -> list[Candidate]:
    """Return the two candidates of every prompt and other language, failed ones included.

    In language l the translated dominant response is chosen over the own one; in the dominant
    language the own response is chosen over the translated one (paper, section 3.2). Of several
    samples, the i-th responses stand against each other.
    """
    return [
        replace(candidate, sample=sample)
        for other in languages.others
        for sample, sources in enumerate(samples)
        for prompt_id in dict.fromkeys(prompt_id for prompt_id, _ in sources.responses)
        for candidate in _both(sources, prompt_id, languages.dominant, other)
    ]


def _both(sources: Sources, prompt_id: str, dominant: str, other: str) -> Iterator[Candidate]:
    own, strong = (
        sources.responses.get((prompt_id, other)),
        sources.responses.get((prompt_id, dominant)),
    )
    into = sources.translations.get((prompt_id, dominant, other))
    back = sources.translations.get((prompt_id, other, dominant))
    task = sources.prompts[prompt_id, dominant].translation_task
    yield _candidate(
        sources,
        prompt_id,
        other,
        dominant,
        Kind.TRANSLATION_CHOSEN,
        strong if task else into,
        own,
        task,
    )
    yield _candidate(
        sources, prompt_id, dominant, other, Kind.OWN_CHOSEN, strong, None if task else back, task
    )


def _candidate(
    sources: Sources,
    prompt_id: str,
    language: str,
    other: str,
    kind: Kind,
    chosen: Response | Translation | None,
    rejected: Response | Translation | None,
    task: bool,
) -> Candidate:
    sides = (chosen, rejected)
    not_back = task and kind is Kind.OWN_CHOSEN
    return Candidate(
        prompt_id=prompt_id,
        language=language,
        other_language=other,
        kind=kind,
        prompt=sources.prompts[prompt_id, language].text,
        chosen=chosen.text if chosen else None,
        rejected=rejected.text if rejected else None,
        truncated=any(isinstance(side, Response) and side.failure in CUT_SHORT for side in sides),
        failure=DropReason.TRANSLATION_TASK if not_back else _failure(sources, sides),
        untranslated=task and not not_back,
    )


def _failure(
    sources: Sources, sides: tuple[Response | Translation | None, ...]
) -> DropReason | None:
    """Return why no filter even needs to look: an answer is missing or a translation failed."""
    for side in sides:
        if side is None:
            return DropReason.MISSING_PARTNER
        failure = side.failure
        if failure == Failure.SOURCE_FAILED and isinstance(side, Translation):
            failure = sources.responses[side.prompt_id, side.source_language].failure
            return _SOURCE_REASONS.get(failure or "", DropReason.MISSING_PARTNER)
        if isinstance(side, Translation) and failure:
            return DropReason.TRANSLATION_FAILED
        if failure in (Failure.PROMPT_TOO_LONG, Failure.ENGINE_REJECTED):
            return DropReason.MISSING_PARTNER
    return None


_SOURCE_REASONS: dict[str, DropReason] = {
    Failure.TRUNCATED: DropReason.TRUNCATED,
    Failure.REPETITION: DropReason.REPETITION,
    Failure.EMPTY: DropReason.EMPTY,
}


def _all(stage: Stage, prefix: str, kind: type) -> list[Any]:
    names = stage.files(prefix=prefix)
    return stage.read_records(names, kind) if names else []
