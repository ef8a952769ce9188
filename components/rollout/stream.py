"""The stream of requests: chunks are opened as the engine has room, and closed as they finish."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lidr.components.rollout.chunks import Chunk
from lidr.components.shared.engines import ChatRequest, Completion


@dataclass
class _Open:
    """A chunk under way: its records by place, and how many places are still empty."""

    chunk: Chunk[Any]
    number: int
    left: int
    items: list[Any]
    records: list[Any]
    followers: list[tuple[Callable[[Any, Any], Any], _Open]] = field(default_factory=list)


class Stream:
    """Turns chunks into requests and completions into finished chunks.

    Chunks are loaded one at a time, when the engine asks for more than is ready, so memory holds
    only what is under way. What follows from a record is ready at once and goes first: the engine
    never waits for a chunk to end.

    Args:
        chunks: what is to be done.
        present: store keys that exist already; such chunks are not done again.
        whole_chunks: followers start when all of their chunk is there, for engines that work in
            batches.
        close: takes each finished chunk and its records.
    """

    def __init__(
        self,
        chunks: Iterable[Chunk[Any]],
        present: Collection[str],
        *,
        whole_chunks: bool,
        close: Callable[[Chunk[Any], Sequence[Any]], None],
    ) -> None:
        self.unasked = 0
        """Places that needed no request."""
        self.failures: Counter[str] = Counter()
        """Records without usable text, by reason."""
        self._chunks = iter(chunks)
        self._present = present
        self._whole_chunks = whole_chunks
        self._close = close
        self._ready: deque[ChatRequest] = deque()
        self._asked: dict[str, tuple[_Open, int]] = {}
        self._open = 0
        self._opened = 0

    @property
    def unanswered(self) -> int:
        """Requests without an answer."""
        return len(self._asked)

    def requests(self) -> Iterator[ChatRequest | None]:
        """Yield requests; None where there is none before the next completion."""
        while True:
            if self._ready:
                yield self._ready.popleft()
            elif (chunk := next(self._chunks, None)) is not None:
                self._enter(chunk)
            elif self._open:
                yield None
            else:
                return

    def take(self, completion: Completion) -> None:
        """Put a completion in its place."""
        opened, place = self._asked.pop(completion.key)
        record = opened.chunk.task.record(opened.items[place], completion)
        self._settle(opened, place, record)

    def _enter(self, chunk: Chunk[Any]) -> None:
        """Open a chunk, or what is missing of those that follow from it."""
        if chunk.key in self._present:
            for follower in chunk.followers:
                self._enter(follower.chunk)
            return
        self._fill(self._begin(chunk), chunk.items())

    def _begin(self, chunk: Chunk[Any]) -> _Open:
        self._open += 1
        self._opened += 1
        opened = _Open(chunk, self._opened, chunk.size, [None] * chunk.size, [None] * chunk.size)
        opened.followers = [
            (follower.derive, self._begin(follower.chunk))
            for follower in chunk.followers
            if follower.chunk.key not in self._present
        ]
        return opened

    def _fill(self, opened: _Open, items: Sequence[Any]) -> None:
        for place, item in enumerate(items):
            self._ask(opened, place, item)

    def _ask(self, opened: _Open, place: int, item: Any) -> None:
        opened.items[place] = item
        request = None if item is None else opened.chunk.task.request(item)
        if request is None:
            self.unasked += 1
            self._settle(
                opened, place, None if item is None else opened.chunk.task.record(item, None)
            )
            return
        key = f"{opened.number}/{place}"
        self._asked[key] = (opened, place)
        self._ready.append(replace(request, key=key, group=opened.chunk.name))

    def _settle(self, opened: _Open, place: int, record: Any) -> None:
        opened.records[place] = record
        opened.left -= 1
        if record is not None and record.failure:
            self.failures[record.failure] += 1
        if not self._whole_chunks:
            for derive, follower in opened.followers:
                self._pass_on(derive, opened, follower, place)
        if not opened.left:
            self._finish(opened)

    def _pass_on(
        self, derive: Callable[[Any, Any], Any], opened: _Open, follower: _Open, place: int
    ) -> None:
        if place < follower.chunk.size:
            record = opened.records[place]
            item = None if record is None else derive(opened.items[place], record)
            self._ask(follower, place, item)

    def _finish(self, opened: _Open) -> None:
        self._open -= 1
        self._close(opened.chunk, [record for record in opened.records if record is not None])
        if self._whole_chunks:
            for derive, follower in opened.followers:
                for place in range(opened.chunk.size):
                    self._pass_on(derive, opened, follower, place)


def places(chunks: Iterable[Chunk[Any]], present: Collection[str]) -> int:
    """Return how many places are missing in chunks and their followers."""
    return sum(
        (0 if chunk.key in present else chunk.size)
        + places((follower.chunk for follower in chunk.followers), present)
        for chunk in chunks
    )
