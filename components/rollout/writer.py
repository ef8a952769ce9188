"""Writes finished chunks while the engine goes on, in the order they finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from lidr.components.rollout.chunks import Chunk
from lidr.components.rollout.encoder import (
    MIN_RECORDS,
    encode,
    encode_in_subprocess,
    start_subprocess,
)
from lidr.components.shared.core.errors import WrittenByAnother

_MAX_WAITING_CHUNKS = 4
"""Chunks that may wait to be written: a store that cannot keep up slows the engine down rather than
filling the memory."""


class Writer:
    """Writes chunks on its own thread; a failed write is raised by a later `write`, or at exit.

    There is only one thread, and it writes nothing after a failure, so a chunk is on the store
    before those that follow from it.

    Args:
        expected: records that will be written; from `MIN_RECORDS` on, a separate process encodes
            them.
    """

    def __init__(self, expected: int) -> None:
        self._failed = False
        self._encode = encode
        if expected >= MIN_RECORDS:
            self._encode = encode_in_subprocess
            start_subprocess()
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
        """Queue a chunk to be completed and written, unless another worker has written it."""
        while len(self._waiting) >= _MAX_WAITING_CHUNKS or (
            self._waiting and self._waiting[0].done()
        ):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._write, chunk, records))

    def _write(self, chunk: Chunk[Any], records: Sequence[Any]) -> None:
        if self._failed:
            return
        try:
            data = self._encode(chunk.task.finish, records, chunk.task.kind)
            if not chunk.stage.create(chunk.name, data):
                _require_same(chunk, data)
        except BaseException:
            self._failed = True
            raise


def _require_same(chunk: Chunk[Any], data: bytes) -> None:
    """Check that the file another worker wrote has this chunk's records, if it has followers.

    Raises:
        WrittenByAnother: the file has other records, so the followers would not match it.
    """
    if chunk.followers and chunk.stage.store.read(chunk.key) != data:
        raise WrittenByAnother(
            f"another worker wrote {chunk.key} at the same time, with other records",
            remedy="Run again once the other worker has ended: finished chunks are kept.",
        )
