"""translate: M_t translates its own responses, both ways (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from components.shared.digest import digest_of_uri, seed_of
from components.shared.engines import ChatRequest, Completion, choose_engine
from components.shared.progress import emit, step
from components.shared.prompts import (
    TRANSLATION_PRIMER,
    TRANSLATION_STOP,
    read_translation,
    translation_messages,
)
from components.shared.recipe import Recipe
from components.shared.records import Failure, FinishReason, Prompt, Response, Translation
from components.shared.rollout import (
    Chunk,
    EngineHolder,
    Task,
    cut_chunks,
    decoding_of,
    failures_by,
    roll_out,
)
from components.shared.stage import Stage, new_stage, open_stage
from components.shared.store import open_store

VERSION = 1


@dataclass(frozen=True, slots=True)
class Job:
    """One text to translate; `text` is None where there is nothing to translate."""

    prompt_id: str
    source: str
    target: str
    text: str | None


@step("translate")
def translate(
    recipe: str, store: str, world: str, responses: str, model: str, iteration: int
) -> str:
    """Let M_t translate its dominant-language responses into the others, and those back.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        world: URI of the world stage: prompts that are translation tasks are left out.
        responses: URI of the generate stage.
        model: URI of the stage that holds M_t.
        iteration: t + 1.

    Returns:
        URI of the stage: `translations/<source>-<target>/<chunk>.parquet` with Translation
        records, and `round_trip/<source>-<target>/...`, where a sample of those translations is
        translated back from target to source.

    Raises:
        EngineFailed: the inference engine died; finished chunks are kept.
    """
    settings = Recipe.model_validate_json(recipe)
    stage = _stage(settings, store, responses, model, iteration)
    if stage.done():
        emit("reused", step="translate")
        return stage.uri
    task = Task(Translation, partial(_request, settings.seed, iteration), _records)
    decoding = decoding_of(settings.translation, (TRANSLATION_STOP,))
    with EngineHolder(settings, model) as holder:
        roll_out(stage, holder, _chunks(settings, world, responses), task, decoding)
        rate = holder.described()
        roll_out(stage, holder, _round_trips(settings, stage), task, decoding)
        return stage.finish(_counts(settings, stage) | rate)


def directions(settings: Recipe) -> list[tuple[str, str]]:
    """Return every (source, target): the dominant language into each other one, then back."""
    dominant, others = settings.languages.dominant, settings.languages.others
    return [(dominant, other) for other in others] + [(other, dominant) for other in others]


def _stage(settings: Recipe, store: str, responses: str, model: str, iteration: int) -> Stage:
    return new_stage(
        open_store(store),
        "translate",
        VERSION,
        {"responses": digest_of_uri(responses), "model": digest_of_uri(model)},
        {
            "iteration": iteration,
            "seed": settings.seed,
            "languages": settings.languages.model_dump(mode="json"),
            "dtype": settings.model.dtype,
            "max_length": settings.model.max_length,
            "engine": choose_engine(settings)[0].value,
            "chunk_size": settings.generation.chunk_size,
            "batch_tokens": settings.generation.batch_tokens,
            "truncated": settings.pairing.active.truncated,
            **settings.translation.model_dump(mode="json"),
        },
    )


def _chunks(settings: Recipe, world: str, responses: str) -> list[Chunk[Job]]:
    source_stage = open_stage(responses)
    prompts = open_stage(world).read_records(
        [f"prompts/{settings.languages.dominant}.parquet"], Prompt
    )
    skipped = {prompt.prompt_id for prompt in prompts if prompt.translation_task}
    texts = {
        code: [
            (answer.prompt_id, _translatable(settings, answer))
            for answer in source_stage.read_records(
                source_stage.files(prefix=f"responses/{code}/"), Response
            )
            if answer.prompt_id not in skipped
        ]
        for code in settings.languages.all
    }
    chunks: list[Chunk[Job]] = []
    for source, target in directions(settings):
        jobs = [Job(prompt_id, source, target, text) for prompt_id, text in texts[source]]
        chunks += cut_chunks(
            f"translations/{source}-{target}", jobs, settings.generation.chunk_size
        )
    return chunks


def _translatable(settings: Recipe, answer: Response) -> str | None:
    """Return the text to translate; a truncated one counts only where pairs of it are kept."""
    if answer.failure is None:
        return answer.text
    kept = answer.failure == Failure.TRUNCATED and not settings.pairing.active.truncated
    return answer.text if kept and answer.text.strip() else None


def _round_trips(settings: Recipe, stage: Stage) -> list[Chunk[Job]]:
    """Return the jobs that translate a sample back; the first ids that succeeded are the sample."""
    chunks: list[Chunk[Job]] = []
    for source, target in directions(settings):
        rows = stage.own_rows(f"translations/{source}-{target}/")
        done = [row for row in rows if row["failure"] is None]
        sample = done[: settings.translation.round_trip_sample]
        jobs = [Job(row["prompt_id"], target, source, row["text"]) for row in sample]
        chunks += cut_chunks(f"round_trip/{source}-{target}", jobs, settings.generation.chunk_size)
    return chunks


def _request(seed: int, iteration: int, job: Job) -> ChatRequest | None:
    if job.text is None:
        return None
    return ChatRequest(
        job.prompt_id,
        translation_messages(job.text, job.source, job.target),
        TRANSLATION_PRIMER,
        seed_of(seed, iteration, job.prompt_id, job.source, f"to {job.target}"),
    )


def _records(jobs: Sequence[Job], answers: Mapping[int, Completion]) -> list[Translation]:
    return [_record(job, answers.get(index)) for index, job in enumerate(jobs)]


def _record(job: Job, answer: Completion | None) -> Translation:
    if answer is None:
        return Translation(
            job.prompt_id,
            job.source,
            job.target,
            None,
            FinishReason.FAILED,
            0,
            Failure.SOURCE_FAILED,
        )
    text, failure = read_translation(answer.text, answer.finish_reason)
    return Translation(
        prompt_id=job.prompt_id,
        source_language=job.source,
        target_language=job.target,
        text=text,
        finish_reason=answer.finish_reason,
        output_tokens=answer.output_tokens,
        failure=answer.failure or failure,
    )


def _counts(settings: Recipe, stage: Stage) -> dict[str, Any]:
    total = 0
    counted: dict[str, object] = {}
    for source, target in directions(settings):
        rows = stage.own_rows(f"translations/{source}-{target}/")
        total += len(rows)
        counted[f"{source}-{target}"] = {
            "translations": len(rows),
            "failures": failures_by(rows),
            "output_tokens": sum(row["output_tokens"] for row in rows),
        }
    return {"translations": total, "directions": counted}
