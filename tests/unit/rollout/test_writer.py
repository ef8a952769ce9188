"""The writer: after a write that failed nothing that follows from it is written."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest

from lidr.components.rollout import writer as module
from lidr.components.rollout.chunks import Chunk, Task
from lidr.components.rollout.writer import Writer
from lidr.components.shared.records.schema import Response


@dataclass
class FailingStage:
    """Refuses one file, once everything behind it is in the queue."""

    refused: str
    queued: threading.Event = field(default_factory=threading.Event)
    written: list[str] = field(default_factory=list)

    def create(self, name: str, data: bytes) -> None:
        self.queued.wait(10)
        if name == self.refused:
            raise OSError("the store is full")
        self.written.append(name)


def test_nothing_is_written_after_a_write_that_failed(monkeypatch):
    monkeypatch.setattr(module, "encode", lambda finish, records, kind: b"")
    stage: Any = FailingStage("b")
    task: Any = Task(kind=Response, request=lambda item: None, record=lambda item, reply: None)
    with pytest.raises(OSError, match="the store is full"), Writer(3) as writer:
        for name in "abc":
            writer.write(Chunk(stage, name, 0, task, list), [])
        stage.queued.set()
    assert stage.written == ["a"]
