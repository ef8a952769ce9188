"""The stream of requests: chunks are opened when the engine has room, and closed when finished."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lidr.components.rollout.chunks import Chunk, Follower
from lidr.components.shared.engines import ChatRequest, Completion


@dataclass
class _OpenChunk:
    """A chunk in progress: its items and records by place, and how many places are still empty."""

    chunk: Chunk[Any]
    number: int
    empty: int
    items: list[Any]
    records: list[Any]
    followers: list[tuple[Follower, _OpenChunk]] = field(default_factory=list)


class Stream:
    """Turns chunks into requests and completions into finished chunks.

    Chunks are loaded one at a time, when the engine asks for more requests than are ready, so
    memory holds only chunks in progress. Unless `whole_chunks` is set, a request that follows from
    a record is ready at once and goes before those of new chunks, so the engine never waits for a
    chunk to end.

    Args:
        chunks: the chunks to do.
        present: store keys that exist already; their chunks are not done again.
        whole_chunks: followers start only when their source chunk is complete, for engines that
            work in batches.
        close: called with each finished chunk and its records.
    """

    def __init__(
        self,
        chunks: Iterable[Chunk[Any]],
        present: Collection[str],
        *,
        whole_chunks: bool,
        close: Callable[[Chunk[Any], Sequence[Any]], None],
    ) -> None:
        self.skipped = 0
        """Places that needed no request."""
        self.failures: Counter[str] = Counter()
        """Records with a failure, by reason."""
        self._chunks = iter(chunks)
        self._present = present
        self._whole_chunks = whole_chunks
        self._close = close
        self._ready: deque[ChatRequest] = deque()
        self._asked: dict[str, tuple[_OpenChunk, int]] = {}
        self._open = 0
        self._opened = 0

    @property
    def unanswered(self) -> int:
        """Number of requests without an answer."""
        return len(self._asked)

    def requests(self) -> Iterator[ChatRequest | None]:
        """Yield requests; None means that no request is ready before the next completion."""
        while True:
            if self._ready:
                yield self._ready.popleft()
            elif (chunk := next(self._chunks, None)) is not None:
                self._open_missing(chunk)
            elif self._open:
                yield None
            else:
                return

    def take(self, completion: Completion) -> None:
        """Make the record of a completion, and the requests that follow from it."""
        opened, place = self._asked.pop(completion.key)
        record = opened.chunk.task.record(opened.items[place], completion)
        self._put(opened, place, record)

    def _open_missing(self, chunk: Chunk[Any]) -> None:
        """Open a chunk, or, if it is present, those of its followers that are missing."""
        if chunk.key in self._present:
            for follower in chunk.followers:
                self._open_missing(follower.chunk)
            return
        opened = self._begin(chunk)
        for place, item in enumerate(chunk.items()):
            self._ask(opened, place, item)

    def _begin(self, chunk: Chunk[Any]) -> _OpenChunk:
        self._open += 1
        self._opened += 1
        size = chunk.size
        opened = _OpenChunk(chunk, self._opened, size, [None] * size, [None] * size)
        opened.followers = [
            (follower, self._begin(follower.chunk))
            for follower in chunk.followers
            if follower.chunk.key not in self._present
        ]
        return opened

    def _ask(self, opened: _OpenChunk, place: int, item: Any) -> None:
        task = opened.chunk.task
        opened.items[place] = item
        request = None if item is None else task.request(item)
        if request is None:
            self.skipped += 1
            self._put(opened, place, None if item is None else task.record(item, None))
            return
        key = f"{opened.number}/{place}"
        self._asked[key] = (opened, place)
        self._ready.append(replace(request, key=key, group=opened.chunk.name))

    def _put(self, opened: _OpenChunk, place: int, record: Any) -> None:
        opened.records[place] = record
        opened.empty -= 1
        if record is not None and record.failure:
            self.failures[record.failure] += 1
        if not opened.empty:  # before its followers, which may be complete at once
            self._close_chunk(opened)
        if not self._whole_chunks:
            for link, follower in opened.followers:
                self._feed(link, opened, follower, place)
        elif not opened.empty:
            for link, follower in opened.followers:
                for each in range(opened.chunk.size):
                    self._feed(link, opened, follower, each)

    def _feed(self, link: Follower, opened: _OpenChunk, follower: _OpenChunk, place: int) -> None:
        """Ask for what follows from the record at a place, if the follower has a place for it."""
        own, between = divmod(place, link.every)
        if not between and own < follower.chunk.size:
            record = opened.records[place]
            item = None if record is None else link.derive(opened.items[place], record)
            self._ask(follower, own, item)

    def _close_chunk(self, opened: _OpenChunk) -> None:
        self._open -= 1
        self._close(opened.chunk, [record for record in opened.records if record is not None])


def count_missing(chunks: Iterable[Chunk[Any]], present: Collection[str]) -> int:
    """Return how many places the missing chunks have, followers included."""
    return sum(
        (0 if chunk.key in present else chunk.size)
        + count_missing((follower.chunk for follower in chunk.followers), present)
        for chunk in chunks
    )
