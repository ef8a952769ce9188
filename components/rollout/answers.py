"""The generate step's requests and records: every prompt in every language (paper, 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lidr.components.rollout.chunks import Chunk, Follower, Shard, Task, chunk_name
from lidr.components.rollout.prompts import PromptBook
from lidr.components.shared.config.generation import Sampling
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.core.text import is_repetitive
from lidr.components.shared.engines import ChatRequest, Completion, Decoding
from lidr.components.shared.records.chat import answer_messages
from lidr.components.shared.records.schema import (
    CUT_SHORT,
    Failure,
    FinishReason,
    Prompt,
    Response,
)
from lidr.components.shared.store.stage import Stage, open_stage

Followers = Callable[[str, int], tuple[Follower, ...]]
IdentifyLanguages = Callable[[Sequence[str]], Sequence[str]]


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A prompt, and which of its samples to generate (from 0)."""

    prompt: Prompt
    sample: int = 0


class Answers:
    """The chunks of a generate stage.

    Args:
        settings: the recipe.
        stage: the generate stage.
        prompts: the iteration's prompts.
        iteration: t + 1 where M_t answers; part of every request's seed.
        identify: returns the language of each text.
    """

    def __init__(
        self,
        settings: Recipe,
        stage: Stage,
        prompts: PromptBook,
        iteration: int,
        identify: IdentifyLanguages,
    ) -> None:
        self._settings = settings
        self.stage = stage
        self._prompts = prompts
        decoding = decoding_of(settings.generation)
        self._task = Task(
            Response,
            partial(_request, settings.seed, iteration, decoding),
            partial(_record, decoding.stop),
            partial(_identified, identify),
        )

    def chunks(
        self, shard: Shard, followers: Followers | None = None
    ) -> Iterator[Chunk[AnswerRequest]]:
        """Yield a shard's chunks; all languages of the same prompts are adjacent.

        Args:
            shard: which chunks.
            followers: returns the followers of a language's `index`-th chunk.
        """
        size = self._prompts.size(self._settings.languages.dominant)
        for index in shard.indexes(size, self._settings.generation.chunk_size):
            for language in self._settings.languages.all:
                own = followers(language, index) if followers else ()
                yield self._chunk(language, index, own)

    def _chunk(
        self, language: str, index: int, followers: tuple[Follower, ...]
    ) -> Chunk[AnswerRequest]:
        """Return one language's `index`-th chunk; the samples of a prompt are adjacent."""
        length, samples = self._settings.generation.chunk_size, self._settings.generation.samples
        first = index * length
        size = min(length, self._prompts.size(language) - first)

        def requests() -> list[AnswerRequest]:
            prompts = self._prompts.read(language, first, size)
            return [
                AnswerRequest(prompt, sample) for prompt in prompts for sample in range(samples)
            ]

        name = chunk_name(f"responses/{language}", index)
        return Chunk(self.stage, name, size * samples, self._task, requests, followers)


def read_answers(responses: str, language: str) -> list[Response]:
    """Return all responses of a finished generate stage in one language.

    The responses in all languages may not fit into memory together.
    """
    stage = open_stage(responses)
    return stage.read_records(stage.files(prefix=f"responses/{language}/"), Response)


def usable_text(settings: Recipe, answer: Response) -> str | None:
    """Return the text of a response if pairs may be made of it, else None.

    The text of a response that was cut short is usable only if the filter `truncated` is off.
    """
    if answer.failure is None:
        return answer.text
    kept = answer.failure in CUT_SHORT and not settings.pairing.active.truncated
    return answer.text if kept and answer.text.strip() else None


def decoding_of(sampling: Sampling, stop: tuple[str, ...] = ()) -> Decoding:
    """Return a recipe's sampling settings as the engine takes them, with further stop strings."""
    return Decoding(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        repetition_penalty=sampling.repetition_penalty,
        max_tokens=sampling.max_tokens,
        stop=(*stop, *sampling.stop),
    )


def _request(seed: int, iteration: int, decoding: Decoding, request: AnswerRequest) -> ChatRequest:
    prompt, purpose = request.prompt, seed_purpose("answer", request.sample)
    return ChatRequest(
        prompt.prompt_id,
        answer_messages(prompt.text),
        decoding,
        seed=seed_of(seed, iteration, prompt.prompt_id, prompt.language, purpose),
    )


def seed_purpose(purpose: str, sample: int) -> str:
    """Return a request's purpose as its seed has it: with the number of any sample but 0."""
    return f"{purpose}, sample {sample}" if sample else purpose


def _record(stop: Sequence[str], request: AnswerRequest, answer: Completion | None) -> Response:
    if answer is None:
        raise ValueError("an answer request without a completion")
    if answer.finish_reason == FinishReason.STOP:
        answer = replace(answer, text=_without_stop(answer.text, stop))
    return Response(
        prompt_id=request.prompt.prompt_id,
        language=request.prompt.language,
        text=answer.text,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        detected_language="",
        failure=answer.failure or _failure(answer),
        sample=request.sample,
    )


def _without_stop(text: str, stop: Sequence[str]) -> str:
    """Return a text without the stop string that ended it."""
    return text.removesuffix(max(filter(text.endswith, stop), key=len, default=""))


def _failure(answer: Completion) -> Failure | None:
    if answer.finish_reason == FinishReason.LENGTH:
        return Failure.REPETITION if is_repetitive(answer.text) else Failure.TRUNCATED
    return None if answer.text.strip() else Failure.EMPTY


def _identified(identify: IdentifyLanguages, records: Sequence[Response]) -> list[Response]:
    detected = identify([record.text for record in records])
    return [
        replace(record, detected_language=language)
        for record, language in zip(records, detected, strict=True)
    ]
