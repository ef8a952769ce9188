"""The translate step's requests and records: responses out of the dominant language and into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from lidr.components.rollout.answers import AnswerRequest, decoding_of, seed_purpose, usable_text
from lidr.components.rollout.chunks import Chunk, Follower, Shard, Task, chunk_name
from lidr.components.rollout.prompts import PromptBook
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.engines import ChatRequest, Completion, Decoding
from lidr.components.shared.records.chat import (
    TRANSLATION_PRIMER,
    TRANSLATION_STOP,
    read_translation,
    recover_translation,
    translation_messages,
)
from lidr.components.shared.records.schema import (
    Failure,
    FinishReason,
    Prompt,
    Response,
    Translation,
)
from lidr.components.shared.store.stage import Stage


@dataclass(frozen=True, slots=True)
class TranslationJob:
    """A text to translate; where there is none, `text` is None, and `failure` says why."""

    prompt_id: str
    source: str
    target: str
    text: str | None
    failure: Failure = Failure.SOURCE_FAILED
    sample: int = 0


def directions(settings: Recipe) -> list[tuple[str, str]]:
    """Return every (source, target): the dominant language into each other one, then back."""
    dominant, others = settings.languages.dominant, settings.languages.others
    return [(dominant, other) for other in others] + [(other, dominant) for other in others]


class Translations:
    """The chunks of a translate stage.

    Args:
        settings: the recipe.
        stage: the translate stage.
        responses: the generate stage; only the chunks that are translated now must exist.
        prompts: the iteration's prompts.
        iteration: t + 1 where M_t answers; part of every request's seed.
    """

    def __init__(
        self,
        settings: Recipe,
        stage: Stage,
        responses: Stage,
        prompts: PromptBook,
        iteration: int,
    ) -> None:
        self._settings = settings
        self.stage = stage
        self._responses = responses
        self._prompts = prompts
        decoding = decoding_of(settings.translation, (TRANSLATION_STOP,))
        self._task = Task(
            Translation,
            partial(_request, settings.seed, iteration, decoding),
            partial(_record, settings.pairing.recovers, settings.translation.stop),
        )
        self._size = prompts.size(settings.languages.dominant)

    def chunks(self, shard: Shard) -> Iterator[Chunk[TranslationJob]]:
        """Yield a shard's chunks, each of one direction."""
        for index in shard.indexes(self._size, self._settings.generation.chunk_size):
            for source, target in directions(self._settings):
                yield self.chunk(source, target, index)

    def chunk(self, source: str, target: str, index: int) -> Chunk[TranslationJob]:
        """Return a direction's `index`-th chunk, made from the `index`-th chunk of responses."""
        length, samples = self._settings.generation.chunk_size, self._settings.generation.samples
        size = min(length, self._size - index * length) * samples
        return Chunk(
            self.stage,
            chunk_name(f"translations/{source}-{target}", index),
            size,
            self._task,
            partial(self._jobs, source, target, index),
            tuple(self._round_trip(source, target, index)),
        )

    def followers(self, source: str, index: int) -> tuple[Follower, ...]:
        """Return the chunks that a chunk of responses feeds, for the fused rollout."""
        return tuple(
            Follower(self.chunk(own, target, index), partial(self._follow, target))
            for own, target in directions(self._settings)
            if own == source
        )

    def _jobs(self, source: str, target: str, index: int) -> list[TranslationJob]:
        length = self._settings.generation.chunk_size
        prompts = self._prompts.read(source, index * length, length)
        name = chunk_name(f"responses/{source}", index)
        answers: list[Response] = self._responses.peek_records(name, Response)
        found = {(answer.prompt_id, answer.sample): answer for answer in answers}
        samples = range(self._settings.generation.samples)
        return [
            self._job(target, prompt, found[prompt.prompt_id, sample])
            for prompt in prompts
            for sample in samples
        ]

    def _follow(self, target: str, question: AnswerRequest, answer: Response) -> TranslationJob:
        return self._job(target, question.prompt, answer)

    def _job(self, target: str, prompt: Prompt, answer: Response) -> TranslationJob:
        return TranslationJob(
            answer.prompt_id,
            answer.language,
            target,
            None if prompt.translation_task else usable_text(self._settings, answer),
            Failure.TRANSLATION_TASK if prompt.translation_task else Failure.SOURCE_FAILED,
            answer.sample,
        )

    def _round_trip(self, source: str, target: str, index: int) -> Iterator[Follower]:
        """Yield the chunk that translates back this chunk's part of `round_trip_sample`, if any.

        It holds the first sample of each prompt: samples of one prompt are not independent.
        """
        length = self._settings.generation.chunk_size
        rest = self._settings.translation.round_trip_sample - index * length
        size = min(length, self._size - index * length, rest)
        if size > 0:
            yield Follower(
                Chunk(
                    self.stage,
                    chunk_name(f"round_trip/{source}-{target}", index),
                    size,
                    self._task,
                    partial(self._jobs_back, source, target, index, size),
                ),
                lambda _, translation: _job_back(translation),
                self._settings.generation.samples,
            )

    def _jobs_back(
        self, source: str, target: str, index: int, size: int
    ) -> Sequence[TranslationJob | None]:
        samples = self._settings.generation.samples
        name = chunk_name(f"translations/{source}-{target}", index)
        rows: list[Translation] = self.stage.peek_records(name, Translation)
        return [_job_back(row) for row in rows[: size * samples : samples]]


def _job_back(row: Translation) -> TranslationJob | None:
    if row.text is None:
        return None
    return TranslationJob(
        row.prompt_id, row.target_language, row.source_language, row.text, sample=row.sample
    )


def _request(
    seed: int, iteration: int, decoding: Decoding, job: TranslationJob
) -> ChatRequest | None:
    if job.text is None:
        return None
    purpose = seed_purpose(f"to {job.target}", job.sample)
    return ChatRequest(
        job.prompt_id,
        translation_messages(job.text, job.source, job.target),
        decoding,
        TRANSLATION_PRIMER,
        seed_of(seed, iteration, job.prompt_id, job.source, purpose),
    )


def _record(
    recovers: bool, stop: tuple[str, ...], job: TranslationJob, answer: Completion | None
) -> Translation:
    if answer is None:
        return Translation(
            job.prompt_id,
            job.source,
            job.target,
            None,
            FinishReason.FAILED,
            0,
            job.failure,
            job.sample,
        )
    text, failure = read_translation(answer.text, answer.finish_reason)
    failure, rule = answer.failure or failure, None
    recovers = recovers and failure == Failure.UNTAGGED
    if recovers and (found := recover_translation(answer.text, stop)):
        (text, rule), failure = found, None
    return Translation(
        prompt_id=job.prompt_id,
        source_language=job.source,
        target_language=job.target,
        text=text,
        finish_reason=answer.finish_reason,
        output_tokens=answer.output_tokens,
        failure=failure,
        sample=job.sample,
        raw=answer.text if failure or rule else None,
        recovered=rule,
    )
