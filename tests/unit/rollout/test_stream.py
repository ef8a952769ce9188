"""The order in which chunks are closed: a chunk comes before those that are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from lidr.components.rollout.chunks import Chunk, Follower, Task
from lidr.components.rollout.stream import Stream
from lidr.components.shared.engines import ChatRequest, Completion, Decoding
from lidr.components.shared.records.schema import FinishReason


@dataclass
class Record:
    """What a request came to."""

    text: str
    failure: str | None = None


class Names:
    """A stage that has only names."""

    def key(self, name: str) -> str:
        return name


def chunk(name: str, *followers: Follower) -> Chunk[str]:
    task = Task(
        kind=Record,
        request=lambda item: ChatRequest("", [{"role": "user", "content": item}], Decoding(8)),
        record=lambda item, reply: Record(reply.text if reply else ""),
    )
    stage: Any = Names()
    return Chunk(stage, name, 2, task, lambda: ["one", "two"], followers)


def reply(request: ChatRequest, text: str) -> Completion:
    return Completion(request.key, text, FinishReason.STOP, 1, 1)


@pytest.mark.parametrize("whole_chunks", [False, True])
def test_a_chunk_is_closed_before_what_follows_from_it(whole_chunks: bool):
    follower = Follower(chunk("after"), lambda item, record: item if record.text == "use" else None)
    closed: list[str] = []
    stream = Stream(
        [chunk("before", follower)],
        (),
        whole_chunks=whole_chunks,
        close=lambda done, records: closed.append(done.name),
    )
    requests = stream.requests()
    first, second = next(requests), next(requests)
    assert first and second
    stream.take(reply(first, "use"))
    if not whole_chunks:
        followed = next(requests)
        assert followed
        stream.take(reply(followed, "done"))
    stream.take(reply(second, "of no use"))
    if whole_chunks:
        followed = next(requests)
        assert followed
        stream.take(reply(followed, "done"))
    assert closed == ["before", "after"]
    assert next(requests, "end") == "end" and not stream.unanswered
