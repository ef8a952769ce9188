"""Rewarders of scored samples: the best sample of a prompt is chosen over the worst."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lidr.components.pair.candidates import ANSWER_REASONS, Candidate, Decided
from lidr.components.pair.reward.observations import Observations, observe_pair
from lidr.components.pair.rewarders.base import RewarderInputs
from lidr.components.pair.rewarders.prompts import answered_prompts
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

_REASONS = {**ANSWER_REASONS, Failure.UNCLOSED_THOUGHT: DropReason.UNCLOSED_THOUGHT}


@dataclass(frozen=True, slots=True)
class ScoredSample:
    """A response with its score; `cut` says how it ran into max_tokens, if it did."""

    sample: int
    text: str
    score: float
    cut: DropReason | None = None


@dataclass(frozen=True)
class SampledPrompt:
    """A prompt in one language, with its samples.

    Attributes:
        prompt: the prompt.
        samples: those that have a score.
        failures: why the others have none.
    """

    prompt: Prompt
    samples: tuple[ScoredSample, ...]
    failures: tuple[str, ...] = ()


class SampleRewarder:
    """Chooses the best sample of each prompt over the worst, by the scores of another step.

    Args:
        inputs: what the rewarder reads.
    """

    def __init__(self, inputs: RewarderInputs) -> None:
        self._recipe = inputs.recipe
        self._prompts = _read_prompts(inputs)

    def candidates(self) -> list[Candidate]:
        """Return a candidate of every prompt in every language, in the recipe's order of languages.

        Of equal scores the first sample counts. Where all scores are equal and the texts are not,
        there is no preference.
        """
        order = self._recipe.languages.all.index
        rows = sorted(self._prompts, key=lambda row: order(row.prompt.language))
        return [_candidate(row) for row in rows]

    def observe(self, decided: Decided, detected: Mapping[str, str]) -> dict[str, Observations]:
        """Return what is observed of the pairs by language, then in all languages."""
        prompts = {(row.prompt.prompt_id, row.prompt.language): row.prompt for row in self._prompts}
        found = {code: Observations() for code in self._recipe.languages.all}
        for candidate, reason in decided:
            seen = found[candidate.language]
            prompt = prompts[candidate.prompt_id, candidate.language]
            observe_pair(seen, prompt, candidate, reason, detected)
            if reason is None and candidate.chosen and candidate.rejected:
                seen.length_ratios.append(len(candidate.chosen) / len(candidate.rejected))
        overall = Observations()
        for seen in found.values():
            overall.extend(seen)
        return {**found, "*": overall}

    def counts(self) -> dict[str, Any]:
        """Return no further counts."""
        return {}


def _read_prompts(inputs: RewarderInputs) -> list[SampledPrompt]:
    """Read an iteration's prompts in every language, their responses and scores, joined by id."""
    answered, scored = open_stage(inputs.responses), open_stage(inputs.rewards)
    answers: list[Response] = answered.read_records(answered.files(prefix="responses/"), Response)
    scores: list[Score] = scored.read_records([SCORES_FILE], Score)
    asked = answered_prompts(inputs.inputs, inputs.recipe.languages.all, answers)
    known = {(each.prompt_id, each.language, each.sample): each for each in scores}
    samples: dict[tuple[str, str], list[Response]] = {}
    for each in answers:
        samples.setdefault((each.prompt_id, each.language), []).append(each)
    return [_sampled_prompt(asked[key], own, known) for key, own in samples.items()]


def _sampled_prompt(
    prompt: Prompt, answers: Sequence[Response], scores: Mapping[tuple[str, str, int], Score]
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
    """Return the most frequent reason why samples have no score."""
    if not failures:
        return DropReason.UNSCORED
    [(failure, _)] = Counter(failures).most_common(1)
    return _REASONS.get(failure, DropReason.UNSCORED)
