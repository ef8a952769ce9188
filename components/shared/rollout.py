"""Chunks of requests through one engine: what generate and translate have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from components.shared.engines import (
    ChatRequest,
    Completion,
    Decoding,
    Engine,
    choose_engine,
    start_engine,
)
from components.shared.errors import EngineFailed
from components.shared.models import local_model
from components.shared.progress import Meter, emit
from components.shared.recipe import Recipe, Sampling
from components.shared.stage import Stage

Item = TypeVar("Item")


@dataclass(frozen=True)
class Chunk(Generic[Item]):
    """A fixed piece of work that becomes one file of the stage.

    Attributes:
        name: the file's name within the stage; it does not depend on shards.
        items: what is asked, in file order.
    """

    name: str
    items: Sequence[Item]


@dataclass(frozen=True)
class Task(Generic[Item]):
    """How a stage turns items into requests, and completions into records.

    Attributes:
        kind: the record class of the files.
        request: makes an item's request, or None where nothing is to be asked; the key is free.
        records: makes a chunk's records from its items and their completions (by position).
    """

    kind: type
    request: Callable[[Item], ChatRequest | None]
    records: Callable[[Sequence[Item], Mapping[int, Completion]], Sequence[object]]


class EngineHolder:
    """Starts the engine when the first request needs it, once for a whole stage."""

    def __init__(self, recipe: Recipe, model: str) -> None:
        self._recipe = recipe
        self._model = model
        self._engine: Engine | None = None
        self.tokens = 0
        self.rate = 0.0

    def __enter__(self) -> EngineHolder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._engine is not None:
            self._engine.close()

    @property
    def engine(self) -> Engine:
        """The engine, started now if it was not."""
        if self._engine is None:
            name, reason = choose_engine(self._recipe)
            emit("note", message=f"engine: {name}, because {reason}")
            self._engine = start_engine(self._recipe, local_model(self._model))
        return self._engine

    def described(self) -> dict[str, object]:
        """Return what a stage's counts say about the engine."""
        name, reason = choose_engine(self._recipe)
        return {
            "engine": name.value,
            "engine_reason": reason,
            "tokens_per_second": round(self.rate, 1),
        }


def decoding_of(sampling: Sampling, stop: tuple[str, ...] = ()) -> Decoding:
    """Return a recipe's sampling settings as the engine takes them."""
    return Decoding(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        repetition_penalty=sampling.repetition_penalty,
        max_tokens=sampling.max_tokens,
        stop=stop,
    )


def cut_chunks(folder: str, items: Sequence[Item], size: int) -> list[Chunk[Item]]:
    """Cut items into chunks named `<folder>/<number>.parquet`."""
    return [
        Chunk(f"{folder}/{start // size:05d}.parquet", items[start : start + size])
        for start in range(0, len(items), size)
    ]


def roll_out(
    stage: Stage,
    holder: EngineHolder,
    chunks: Sequence[Chunk[Item]],
    task: Task[Item],
    decoding: Decoding,
) -> None:
    """Write every chunk that the stage does not have yet, each as soon as it is complete."""
    present = {entry.key for entry in stage.store.list(stage.prefix)}
    missing = [chunk for chunk in chunks if stage.key(chunk.name) not in present]
    if not missing:
        return
    requests = [_requests(number, chunk, task) for number, chunk in enumerate(missing)]
    flat = [request for part in requests for request in part]
    waiting = [len(part) for part in requests]
    answers: dict[int, dict[int, Completion]] = defaultdict(dict)
    for number, left in enumerate(waiting):
        if not left:
            _write(stage, missing[number], task, {})
    for completion in _metered(holder, flat, decoding):
        number, position = (int(part) for part in completion.key.split("/"))
        answers[number][position] = completion
        waiting[number] -= 1
        if not waiting[number]:
            _write(stage, missing[number], task, answers.pop(number))
    if unanswered := sum(waiting):
        raise EngineFailed(
            f"the engine left {unanswered} of {len(flat)} requests unanswered",
            remedy="Run again: finished chunks are kept.",
        )


def _metered(
    holder: EngineHolder, requests: list[ChatRequest], decoding: Decoding
) -> Iterator[Completion]:
    if not requests:
        return
    engine = holder.engine
    meter = Meter(len(requests), "requests", "tokens")
    for completion in engine.complete(requests, decoding):
        holder.tokens += completion.output_tokens
        meter.advance(1, completion.output_tokens)
        yield completion
    holder.rate = meter.rate


def _requests(number: int, chunk: Chunk[Item], task: Task[Item]) -> list[ChatRequest]:
    made = ((position, task.request(item)) for position, item in enumerate(chunk.items))
    return [
        ChatRequest(
            f"{number}/{position}", request.messages, request.primer, request.seed, chunk.name
        )
        for position, request in made
        if request is not None
    ]


def _write(
    stage: Stage, chunk: Chunk[Item], task: Task[Item], answers: Mapping[int, Completion]
) -> None:
    stage.write_records(chunk.name, task.records(chunk.items, answers), task.kind)


def failures_by(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count the typed failures among records given as rows."""
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        if row["failure"]:
            counts[row["failure"]] += 1
    return dict(sorted(counts.items()))
