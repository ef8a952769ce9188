"""Runs chunks of requests through one engine; shared by generate and translate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from lidr.components.rollout.chunks import Chunk
from lidr.components.rollout.engine_session import EngineSession
from lidr.components.rollout.stream import Stream, count_missing
from lidr.components.rollout.writer import Writer
from lidr.components.shared.core.errors import EngineFailed, WrittenByAnother
from lidr.components.shared.core.events import Meter, emit
from lidr.components.shared.store.stage import Stage

__all__ = ["EngineSession", "roll_out"]


def roll_out(
    session: EngineSession,
    stages: Sequence[Stage],
    plan: Callable[[], Iterable[Chunk[Any]]],
    restarts: int = 0,
) -> None:
    """Write every chunk that the stages lack, each as soon as it is complete.

    Args:
        session: the engine session.
        stages: the stages that the chunks belong to.
        plan: returns the chunks; called once for each pass over them.
        restarts: how often a failed engine is restarted, at most.

    Raises:
        EngineFailed: the engine failed with no restart left, did not start, or left requests
            unanswered.
    """
    failures = 0
    while True:
        try:
            _attempt(session, stages, plan)
            return
        except WrittenByAnother as error:  # so there is one chunk less to make
            emit("warning", message=f"{error.message}; going on with the chunks that are missing")
        except EngineFailed as error:
            failures += 1
            if failures > restarts or not session.running:
                raise
            emit("warning", message=f"{error.message}; restarting the engine")
            session.discard()


def _attempt(
    session: EngineSession, stages: Sequence[Stage], plan: Callable[[], Iterable[Chunk[Any]]]
) -> None:
    present = {entry.key for stage in stages for entry in stage.store.list(stage.prefix)}
    total = count_missing(plan(), present)
    if not total:
        return
    with Writer(total) as writer:
        stream = Stream(plan(), present, whole_chunks=session.works_in_batches, close=writer.write)
        requests = stream.requests()
        try:
            first = next(requests, None)
            if first is not None:  # else no engine is started
                _answer(session, stream, chain([first], requests), total)
        finally:
            session.requests += stream.skipped
            session.failures += stream.failures
    if stream.unanswered:
        raise EngineFailed(
            f"the engine left {stream.unanswered} requests unanswered",
            remedy="Run again: finished chunks are kept.",
        )


def _answer(session: EngineSession, stream: Stream, requests: Iterable[Any], total: int) -> None:
    engine = session.engine
    began = time.monotonic()
    meter = Meter(total, "requests", "tokens")
    try:
        with meter.watching():
            for completion in engine.complete(requests):
                stream.take(completion)
                session.tokens += completion.output_tokens
                meter.total = total - stream.skipped
                meter.advance(1, completion.output_tokens, stream.failures)
    finally:
        session.seconds += time.monotonic() - began
        session.requests += meter.done
