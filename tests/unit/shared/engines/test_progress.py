"""Progress of the transformers engine: tokens move while a batch is being written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lidr.components.shared.core import events
from lidr.components.shared.core.events import Meter, listening
from lidr.components.shared.engines import ChatRequest, Decoding, ScoreRequest
from lidr.components.shared.engines.transformers_engine import TransformersEngine
from tests.unit.shared.engines.cases import lively_model, requests

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return lively_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = opened(folder)
    yield engine
    engine.close()


def opened(folder: Path, batch_tokens: int = 4096) -> TransformersEngine:
    return TransformersEngine(folder, dtype="float32", max_length=0, batch_tokens=batch_tokens)


@pytest.fixture
def told(monkeypatch) -> Iterator[list[dict[str, Any]]]:
    """What is reported, by a clock that is a minute on whenever somebody looks."""
    minutes = count()
    monkeypatch.setattr(events.time, "monotonic", lambda: 60.0 * next(minutes))
    found: list[dict[str, Any]] = []
    with listening(found.append):
        yield found


def progress(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [each for each in told if each["event"] == "progress"]


def test_tokens_move_before_any_request_is_finished(engine: TransformersEngine, told):
    asked = [
        ChatRequest(each.key, each.messages, Decoding(max_tokens=24)) for each in requests()[:8]
    ]
    meter = Meter(len(asked), "requests", "tokens")
    written = 0
    with meter.watching():
        for completion in engine.complete(asked):
            if not written:
                assert len(progress(told)) > 2
                assert {each["done"] for each in progress(told)} == {0}
            written += completion.output_tokens
            meter.advance(1, completion.output_tokens)
    amounts = [each["amount"] for each in progress(told)]
    assert amounts == sorted(amounts)
    assert amounts[-1] == written, "each token is counted once"


def test_layers_tell_that_a_long_prompt_is_being_read(engine: TransformersEngine, told):
    """Of one token that is written after it, the layers alone say anything before."""
    long = [{"role": "user", "content": "Nina has 4 books. " * 12}]
    meter = Meter(1, "requests", "tokens")
    with meter.watching():
        for _ in engine.complete([ChatRequest("0", long, Decoding(max_tokens=1))]):
            pass
    assert [each["amount"] for each in progress(told)] == [0, 0, 1]


def test_tokens_of_given_answers_are_told_of(engine: TransformersEngine, told):
    chat = [{"role": "user", "content": "Nina?"}]
    meter = Meter(2, "answer choices", "tokens")
    with meter.watching():
        for _ in engine.score([ScoreRequest("0", chat, (" Nina has 4.", " Nina has 2 books."))]):
            meter.advance(2)
    assert progress(told)[-1]["amount"] > 10


def asked_in(group: str, size: int) -> list[ChatRequest]:
    found = requests()[:size]
    decoding = Decoding(max_tokens=4)
    return [
        ChatRequest(f"{group}{n}", r.messages, decoding, group=group) for n, r in enumerate(found)
    ]


def test_groups_that_bound_batches_are_told_of_once(folder: Path, told):
    engine = opened(folder, 1 << 16)
    list(engine.complete([*asked_in("a", 4), *asked_in("b", 4), *asked_in("c", 2)]))
    [note] = [each["message"] for each in told if each["event"] == "note"]
    assert note.startswith("batches hold only 4 requests, the most that are asked at once")
    assert "generation.chunk_size" in note
    engine.close()


@pytest.mark.parametrize(
    "groups",
    [[("a", 8)], [("", 8), ("", 2)], [("a", 8), ("b", 1)]],
    ids=["one group", "no groups", "a rest"],
)
def test_batches_as_large_as_memory_lets_them_be_are_not(folder: Path, told, groups):
    engine = opened(folder, 400)
    list(engine.complete([each for group in groups for each in asked_in(*group)]))
    assert not [each for each in told if each["event"] == "note"]
    engine.close()
