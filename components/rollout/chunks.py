"""Chunks, the fixed pieces of a rollout: their requests, their records, and what follows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lidr.components.shared.engines import ChatRequest, Completion
from lidr.components.shared.store.stage import Stage

Item = TypeVar("Item")


@dataclass(frozen=True)
class Task(Generic[Item]):
    """How items become requests, and how completions become records.

    Attributes:
        kind: the record class; it has a field `failure`.
        request: makes an item's request, or None to ask nothing; the stream sets its `key`.
        record: makes the record of an item and its completion (None if nothing was asked).
        finish: completes the records of a whole chunk, in file order; it must be picklable,
            because another process may run it.
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
        size: number of places, each for one item and its record.
        task: what to do with its items.
        items: loads the item of each place, in file order; None leaves the place empty.
        followers: chunks whose items are made from this one's records, place by place.
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
    """The link from a chunk to one that is made from its records.

    Attributes:
        chunk: the chunk that follows; it may have fewer places. Its `items` returns what `derive`
            would make, but reads the source's file.
        derive: makes a place's item from the source's item and record; None leaves the place empty.
        every: the follower's place `i` is made from the source's place `i * every`.
    """

    chunk: Chunk[Any]
    derive: Callable[[Any, Any], Any]
    every: int = 1


@dataclass(frozen=True)
class Shard:
    """The part of a stage's chunks that one worker does: every `count`-th, from `index` on.

    A chunk's content and name do not depend on the shard.
    """

    index: int = 0
    count: int = 1

    def indexes(self, prompts: int, chunk_size: int) -> range:
        """Return the indexes of the shard's chunks among those that a number of prompts fill."""
        return range(self.index, -(-prompts // chunk_size), self.count)


def chunk_name(folder: str, index: int) -> str:
    """Return the name of a folder's `index`-th chunk."""
    return f"{folder}/{index:05d}.parquet"
