"""Finished chunks are completed and written beside the engine, in the order they finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from lidr.components.rollout.chunks import Chunk

_MAX_WAITING_CHUNKS = 4
"""Chunks that may wait to be written: a store that cannot keep up slows the engine down rather than
filling the memory."""


class Writer:
    """Writes chunks on a thread of its own; a failed write is raised at the next one or at exit.

    There is one thread: a chunk is on the store before those that follow from it.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="lidr-writer")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while self._waiting:
                self._waiting.popleft().result()
        except Exception:
            if error is None:
                raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, chunk: Chunk[Any], records: Sequence[Any]) -> None:
        """Complete a chunk's records and write them where no other worker has."""
        while len(self._waiting) >= _MAX_WAITING_CHUNKS or (
            self._waiting and self._waiting[0].done()
        ):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(_write, chunk, records))


def _write(chunk: Chunk[Any], records: Sequence[Any]) -> None:
    chunk.stage.create_records(chunk.name, chunk.task.finish(records), chunk.task.kind)
