"""generate: M_t answers every prompt in every language (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from components.shared.digest import digest_of_uri, seed_of
from components.shared.engines import ChatRequest, Completion
from components.shared.languages import LanguageIdentifier
from components.shared.progress import emit, step
from components.shared.prompts import answer_messages
from components.shared.recipe import Recipe
from components.shared.records import Failure, FinishReason, Prompt, Response
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

VERSION = 1


@step("generate")
def generate(recipe: str, store: str, world: str, model: str, iteration: int) -> str:
    """Let M_t answer this iteration's prompts in every language.

    Args:
        recipe: the resolved recipe as JSON.
        store: URI of the store.
        world: URI of the world stage, which holds the prompts.
        model: URI of the stage that holds M_t.
        iteration: t + 1, the iteration that this is the first step of.

    Returns:
        URI of the stage: `responses/<language>/<chunk>.parquet` with Response records.

    Raises:
        EngineFailed: the inference engine died; finished chunks are kept.
    """
    settings = Recipe.model_validate_json(recipe)
    stage = _stage(settings, store, world, model, iteration)
    if stage.done():
        emit("reused", step="generate")
        return stage.uri
    identifier = LanguageIdentifier(settings.languages.all)
    task = Task(
        Response,
        partial(_request, settings.seed, iteration),
        partial(_records, identifier),
    )
    with EngineHolder(settings, model) as holder:
        roll_out(
            stage,
            holder,
            _chunks(settings, world, iteration),
            task,
            decoding_of(settings.generation),
        )
        return stage.finish(_counts(settings, stage) | holder.described())


def select_prompts(prompts: Sequence[Prompt], per_iteration: int, iteration: int) -> list[Prompt]:
    """Return the prompts of one iteration: the next `per_iteration` ones, starting over at the end.

    Args:
        prompts: all prompts of one language; the order is the same in every language.
        per_iteration: how many.
        iteration: 1 for the first.
    """
    count = min(per_iteration, len(prompts))
    first = (iteration - 1) * count
    return [prompts[index % len(prompts)] for index in range(first, first + count)]


def _stage(settings: Recipe, store: str, world: str, model: str, iteration: int) -> Stage:
    from components.shared.engines import choose_engine
    from components.shared.store import open_store

    return new_stage(
        open_store(store),
        "generate",
        VERSION,
        {"world": digest_of_uri(world), "model": digest_of_uri(model)},
        {
            "iteration": iteration,
            "seed": settings.seed,
            "languages": settings.languages.model_dump(mode="json"),
            "per_iteration": settings.prompts.per_iteration,
            "dtype": settings.model.dtype,
            "max_length": settings.model.max_length,
            "engine": choose_engine(settings)[0].value,
            **settings.generation.model_dump(mode="json", exclude={"engine"}),
        },
    )


def _chunks(settings: Recipe, world: str, iteration: int) -> list[Chunk[Prompt]]:
    source = open_stage(world)
    chunks: list[Chunk[Prompt]] = []
    for language in settings.languages.all:
        prompts = source.read_records([f"prompts/{language}.parquet"], Prompt)
        chosen = select_prompts(prompts, settings.prompts.per_iteration, iteration)
        chunks += cut_chunks(f"responses/{language}", chosen, settings.generation.chunk_size)
    return chunks


def _request(seed: int, iteration: int, prompt: Prompt) -> ChatRequest:
    return ChatRequest(
        prompt.prompt_id,
        answer_messages(prompt.text),
        seed=seed_of(seed, iteration, prompt.prompt_id, prompt.language, "answer"),
    )


def _records(
    identifier: LanguageIdentifier, prompts: Sequence[Prompt], answers: Mapping[int, Completion]
) -> list[Response]:
    detected = identifier.identify([answers[index].text for index in range(len(prompts))])
    return [
        _record(prompt, answers[index], detected[index]) for index, prompt in enumerate(prompts)
    ]


def _record(prompt: Prompt, answer: Completion, detected: str) -> Response:
    return Response(
        prompt_id=prompt.prompt_id,
        language=prompt.language,
        text=answer.text,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        detected_language=detected,
        failure=answer.failure or _failure(answer),
    )


def _failure(answer: Completion) -> Failure | None:
    if answer.finish_reason == FinishReason.LENGTH:
        return Failure.TRUNCATED
    return None if answer.text.strip() else Failure.EMPTY


def _counts(settings: Recipe, stage: Stage) -> dict[str, Any]:
    total = 0
    languages: dict[str, object] = {}
    for language in settings.languages.all:
        rows = stage.own_rows(f"responses/{language}/")
        total += len(rows)
        named = [row for row in rows if row["detected_language"] != "und"]
        off_target = sum(row["detected_language"] != language for row in named)
        languages[language] = {
            "responses": len(rows),
            "failures": failures_by(rows),
            "off_target": off_target / len(rows) if rows else 0.0,
            "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
            "output_tokens": sum(row["output_tokens"] for row in rows),
        }
    return {"responses": total, "languages": languages}
