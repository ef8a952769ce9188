"""Why an engine stopped, as vLLM and servers say it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.engines import ChatRequest, Decoding
from lidr.components.shared.engines.finishing import finish_reason
from lidr.components.shared.engines.openai_engine import OpenAIEngine
from lidr.components.shared.engines.vllm_engine import VllmEngine
from lidr.components.shared.records.schema import Failure, FinishReason


def test_finish_reason_knows_the_end_of_a_turn_and_the_limit():
    assert finish_reason("stop") is FinishReason.STOP
    assert finish_reason("length") is FinishReason.LENGTH


@pytest.mark.parametrize("given", ["abort", "error", "repetition", "failed", None])
def test_finish_reason_refuses_what_was_broken_off(given: str | None):
    with pytest.raises(ValueError, match=f"broken off .*{given!r}"):
        finish_reason(given)


def test_vllm_s_failure_at_a_request_is_no_truncated_answer():
    failed = SimpleNamespace(finish_reason="error")
    output = SimpleNamespace(finished=True, request_id="0", outputs=[failed])
    engine = object.__new__(VllmEngine)
    aborted: list[str] = []
    engine._window, engine._step, engine._abort = 1, lambda: [output], aborted.extend
    with pytest.raises(EngineFailed, match=r"'error'.* Run again"):
        list(engine._stream(["request"], lambda *_: None, lambda *_: "answer"))
    assert aborted == ["0"]


def test_an_endpoint_s_answer_that_was_broken_off_is_no_truncated_answer():
    def completion(reason: str):
        choice = SimpleNamespace(finish_reason=reason, text="a")
        usage = SimpleNamespace(prompt_tokens=3, completion_tokens=1)
        request = ChatRequest("p", [], Decoding(max_tokens=8), seed=0)
        answer = SimpleNamespace(choices=[choice], usage=usage)
        return object.__new__(OpenAIEngine)._completion(request, answer)

    with pytest.raises(ValueError, match="broken off"):
        completion("error")
    assert completion("content_filter").failure == Failure.ENGINE_REJECTED
