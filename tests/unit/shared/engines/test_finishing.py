"""Why an engine stopped or refused a request, as vLLM and servers say it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from openai import APIStatusError

from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.core.events import listening
from lidr.components.shared.engines import ChatRequest, Decoding, vllm_engine
from lidr.components.shared.engines.finishing import Refusals, finish_reason
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
        engine = object.__new__(OpenAIEngine)
        engine._refusals = Refusals("the server")
        return engine._completion(request, answer)

    with pytest.raises(ValueError, match="broken off"):
        completion("error")
    assert completion("content_filter").failure == Failure.ENGINE_REJECTED


@pytest.fixture
def client_error(monkeypatch) -> type[Exception]:
    """The class of vLLM's refusals, which is no ValueError; vLLM itself need not be installed."""
    module: Any = ModuleType("vllm.exceptions")
    module.VLLMClientError = type("VLLMClientError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.exceptions", module)
    return module.VLLMClientError


def vllm_that(add: Callable[..., None]) -> VllmEngine:
    """Return a vLLM engine without a model, whose core is given requests by `add`."""
    engine = object.__new__(VllmEngine)
    engine._context, engine._window, engine._dead, engine._lora = 100, 4, False, None
    engine._refusals = Refusals("vLLM")
    engine._chat = SimpleNamespace(render_in_batches=lambda asked: ((r, [1, 2]) for r in asked))
    engine._sampling = lambda *_: None
    renderer = SimpleNamespace(render_cmpl=lambda prompts: prompts)
    engine._engine = SimpleNamespace(renderer=renderer, add_request=add)
    return engine


def warnings_of(action: Callable[[], object]) -> list[object]:
    heard: list[dict[str, object]] = []
    with listening(heard.append):
        action()
    return [event["message"] for event in heard if event["event"] == "warning"]


def refusing(error: Exception) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse


def test_vllm_s_refusals_fail_their_requests_alone_and_are_told_once(client_error):
    engine = vllm_that(refusing(client_error("top_k is too large")))
    asked = [ChatRequest(key, []) for key in "abc"]
    answers = []
    told = warnings_of(lambda: answers.extend(engine.complete(asked)))
    assert [(each.key, each.failure) for each in answers] == [
        (key, Failure.ENGINE_REJECTED) for key in "abc"
    ]
    assert told == ["vLLM refused 3 requests, the first: top_k is too large"]
    assert not engine._dead
    assert warnings_of(lambda: list(engine.complete(()))) == []


def test_sampling_settings_that_vllm_refuses_fail_their_request(client_error):
    engine = vllm_that(lambda *_, **__: None)
    engine._sampling = refusing(client_error("temperature must be in [0, 2]"))
    told = warnings_of(lambda: list(engine.complete([ChatRequest("a", [])])))
    assert told == ["vLLM refused 1 request: temperature must be in [0, 2]"]


def test_a_dead_core_is_no_refusal(client_error):
    engine = vllm_that(refusing(RuntimeError("the core is gone")))
    with pytest.raises(EngineFailed, match=r"^vLLM died: the core is gone\. Run again"):
        list(engine.complete([ChatRequest("a", [])]))
    assert engine._dead


def test_a_text_that_vllm_refuses_to_score_leaves_it_alive(client_error, monkeypatch):
    engine = vllm_that(refusing(client_error("too many logprobs")))
    one = SimpleNamespace(context=[1], targets=[2], together=False)
    monkeypatch.setattr(vllm_engine, "score_sampling", lambda _: None)
    with pytest.raises(EngineFailed, match="refuses to score a text: too many logprobs"):
        engine._admit_pass("0", one)
    monkeypatch.setattr(vllm_engine, "score_sampling", refusing(client_error("at most 128")))
    with pytest.raises(EngineFailed, match="refuses to score a text: at most 128"):
        engine._admit_pass("0", one)
    assert not engine._dead


def test_an_endpoint_s_refusal_is_told_with_its_reason():
    answer = httpx.Response(400, request=httpx.Request("POST", "http://models"))
    engine = object.__new__(OpenAIEngine)
    engine._refusals = Refusals("http://models")
    engine._create = refusing(APIStatusError("prompt refused", response=answer, body=None))
    completion = asyncio.run(engine._ask(ChatRequest("p", []), [1]))
    assert completion.failure == Failure.ENGINE_REJECTED
    told = warnings_of(engine._refusals.report)
    assert told == ["http://models refused 1 request: prompt refused"]
