"""Several samples of a prompt with a score each: the best one is chosen over the worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Map
from dataclasses import dataclass, replace

from lidr.components.pair.candidates import ANSWER_REASONS, Candidate
from lidr.components.pair.reward.observations import Observations, observe_pair
from lidr.components.pair.rewarders.base import Decided, RewarderInputs
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.records.schema import (
    CUT_SHORT,
    DropReason,
    Failure,
    PairKind,
    Prompt,
    Response,
    Score,
)
from lidr.components.shared.records.scores import SCORES_FILE
from lidr.components.shared.store.stage import open_stage

EVERYWHERE = "*"
"""The place that pools all languages."""

_REASONS = {**ANSWER_REASONS, Failure.UNCLOSED_THOUGHT: DropReason.UNCLOSED_THOUGHT}


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """A response with its score; `cut` says how it ran into max_tokens, where it did."""

    sample: int
    text: str
    score: float
    cut: DropReason | None = None


@dataclass(frozen=True)
class SampledPrompt:
    """A prompt in one language.

    Attributes:
        prompt: it.
        samples: that have a score.
        failures: why others have none.
    """

    prompt: Prompt
    samples: tuple[ScoredSample, ...]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class SampledPrompts:
    """All prompts of an iteration, in every language."""

    rows: tuple[SampledPrompt, ...]

    @classmethod
    def read(cls, inputs: RewarderInputs) -> SampledPrompts:
        """Read prompts, responses and their scores, joined by id."""
        codes = inputs.settings.languages.all
        answered, scored = open_stage(inputs.responses), open_stage(inputs.rewards)
        prompts: list[Prompt] = open_stage(inputs.inputs).read_records(
            [f"prompts/{code}.parquet" for code in codes], Prompt
        )
        answers: list[Response] = answered.read_records(
            answered.files(prefix="responses/"), Response
        )
        scores: list[Score] = scored.read_records([SCORES_FILE], Score)
        asked = {(each.prompt_id, each.language): each for each in prompts}
        known = {(each.prompt_id, each.language, each.sample): each for each in scores}
        samples: dict[tuple[str, str], list[Response]] = {}
        for each in answers:
            samples.setdefault((each.prompt_id, each.language), []).append(each)
        return cls(tuple(_row(asked[key], own, known) for key, own in samples.items()))

    def scored(self) -> dict[str, list[tuple[ScoredSample, ...]]]:
        """Return the scored samples of each prompt by language."""
        found: dict[str, list[tuple[ScoredSample, ...]]] = {}
        for row in self.rows:
            found.setdefault(row.prompt.language, []).append(row.samples)
        return found

    def changed(self, change: Callable[[str, ScoredSample], ScoredSample]) -> SampledPrompts:
        """Return the same prompts with each sample changed by a function of it and its language."""
        return SampledPrompts(
            tuple(
                replace(row, samples=tuple(change(row.prompt.language, s) for s in row.samples))
                for row in self.rows
            )
        )


def _row(
    prompt: Prompt, answers: Sequence[Response], scores: Map[tuple[str, str, int], Score]
) -> SampledPrompt:
    samples: list[ScoredSample] = []
    failures: list[str] = []
    for answer in sorted(answers, key=lambda each: each.sample):
        score = scores.get((prompt.prompt_id, prompt.language, answer.sample))
        if score is None or score.value is None:
            failures.append(answer.failure or (score and score.failure) or DropReason.UNSCORED)
            continue
        cut = ANSWER_REASONS.get(answer.failure or "") if answer.failure in CUT_SHORT else None
        samples.append(ScoredSample(answer.sample, answer.text, score.value, cut))
    return SampledPrompt(prompt, tuple(samples), tuple(failures))


def best_over_worst(settings: Recipe, sampled: SampledPrompts) -> list[Candidate]:
    """Return a candidate of each prompt, languages in the recipe's order.

    Of equal scores the first sample counts. Where all scores are equal and the texts are not, there
    is no preference.
    """
    order = {code: place for place, code in enumerate(settings.languages.all)}
    rows = sorted(sampled.rows, key=lambda row: order[row.prompt.language])
    return [_candidate(row) for row in rows]


def _candidate(row: SampledPrompt) -> Candidate:
    prompt = row.prompt
    empty = Candidate(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        other_language=prompt.language,
        kind=PairKind.BEST_CHOSEN,
        prompt=prompt.text,
        chosen=None,
        rejected=None,
        untranslated=prompt.translation_task,
    )
    if len(row.samples) < 2:
        return replace(empty, unanswered=_why_unscored(row.failures))
    best = max(row.samples, key=lambda each: (each.score, -each.sample))
    worst = min(row.samples, key=lambda each: (each.score, each.sample))
    differ = len({each.text for each in row.samples}) > 1
    cuts = {name: each.cut for name, each in (("chosen", best), ("rejected", worst)) if each.cut}
    return replace(
        empty,
        chosen=best.text,
        rejected=worst.text,
        sample=best.sample,
        unanswered=DropReason.TIED if differ and best.score == worst.score else None,
        cut=next(iter(cuts.values()), None),
        cut_sides=tuple(cuts),
    )


def _why_unscored(failures: Sequence[str]) -> DropReason:
    """Return what happened to most of the samples that have no score."""
    for failure, _ in Counter(failures).most_common(1):
        return _REASONS.get(failure, DropReason.UNSCORED)
    return DropReason.UNSCORED


def observe_samples(
    settings: Recipe, sampled: SampledPrompts, decided: Decided, detected: Map[str, str]
) -> dict[str, Observations]:
    """Return what is seen of the pairs by language, then in all of them."""
    prompts = {(row.prompt.prompt_id, row.prompt.language): row.prompt for row in sampled.rows}
    found = {code: Observations() for code in settings.languages.all}
    for candidate, reason in decided:
        seen = found[candidate.language]
        prompt = prompts[candidate.prompt_id, candidate.language]
        observe_pair(seen, prompt, candidate, reason, detected)
        if reason is None and candidate.chosen and candidate.rejected:
            seen.length_ratios.append(len(candidate.chosen) / len(candidate.rejected))
    everywhere = Observations()
    for seen in found.values():
        everywhere.take(seen)
    return {**found, EVERYWHERE: everywhere}
