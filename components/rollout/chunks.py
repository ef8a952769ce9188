"""Work in fixed pieces: what a chunk asks, what it becomes, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.store.stage import Stage

Item = TypeVar("Item")


@dataclass(frozen=True)
class Task(Generic[Item]):
    """How items become requests, and completions records.

    Attributes:
        kind: the record class; it has a field `failure`.
        request: makes an item's request, or None where nothing is to be asked; the key is free.
        record: makes the record of an item and its completion (None where nothing was asked).
        finish: completes the records of a whole chunk, in file order; another process may do it,
            so that it must be one that pickle takes.
    """

    kind: type
    request: Callable[[Item], ChatRequest | None]
    record: Callable[[Item, Completion | None], Any]
    finish: Callable[[Sequence[Any]], Sequence[Any]] = list


@dataclass(frozen=True)
class Chunk(Generic[Item]):
    """A fixed piece of work that becomes one file of a stage, whichever worker does it.

    Attributes:
        stage: the stage that the file belongs to.
        name: the file's name within the stage.
        size: places in the chunk.
        task: what to do with its items.
        items: loads the item of each place, in file order; None leaves the place empty.
        followers: chunks whose items are made of this one's records, place by place.
    """

    stage: Stage
    name: str
    size: int
    task: Task[Item]
    items: Callable[[], Sequence[Item | None]]
    followers: tuple[Follower, ...] = ()

    @property
    def key(self) -> str:
        """The file's key on the store."""
        return self.stage.key(self.name)


@dataclass(frozen=True)
class Follower:
    """A chunk that another one feeds.

    Attributes:
        chunk: it; its `items` are what `derive` would give, read from the other one's file.
        derive: makes the item of a place from the other one's item and record there.
    """

    chunk: Chunk[Any]
    derive: Callable[[Any, Any], Any]


@dataclass(frozen=True)
class ChunkShare:
    """The part of a stage's chunks that one worker does: each `shards`-th of them.

    What a chunk holds and how it is named does not depend on it.
    """

    shard: int = 0
    shards: int = 1

    def indexes(self, size: int, chunk_size: int) -> Iterator[int]:
        """Yield the numbers of the share's chunks among those that `size` places make."""
        yield from range(self.shard, -(-size // chunk_size), self.shards)


def chunk_name(folder: str, index: int) -> str:
    """Return the name of a folder's `index`-th chunk."""
    return f"{folder}/{index:05d}.parquet"
