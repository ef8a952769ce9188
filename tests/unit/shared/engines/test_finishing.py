"""Why an engine stopped or refused a request, as vLLM and servers say it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from threading import Thread
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest
from openai import APIStatusError

from lidr.components.shared.config.machine import EngineServer
from lidr.components.shared.core.errors import BadInput, EngineFailed
from lidr.components.shared.core.events import listening
from lidr.components.shared.engines import ChatRequest, Decoding, ScoreRequest, vllm_engine
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
    engine._refusals = Refusals("vLLM")
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


def status_error(status: int, said: str) -> APIStatusError:
    answer = httpx.Response(status, request=httpx.Request("POST", "http://models"))
    return APIStatusError(said, response=answer, body=None)


class Endpoint:
    """An engine whose server is a function: it raises, or returns the answer to a prompt."""

    def __init__(self) -> None:
        self.engine: Any = object.__new__(OpenAIEngine)
        self.engine._server = EngineServer(url="http://models", wait_minutes=0, concurrency=4)
        self.engine._name, self.engine._context, self.engine._silent = "m", 100, ""
        self.engine._refusals = Refusals("http://models")
        self.engine._chat = SimpleNamespace(
            render=lambda request: [int(request.key)],
            render_continuations=lambda request: ([int(request.key)], [[7], [8]]),
        )
        self.engine._completion = lambda request, answer: answer
        self.engine._loop = asyncio.new_event_loop()
        self.engine._thread = Thread(target=self.engine._loop.run_forever, daemon=True)
        self.engine._thread.start()
        self.engine._client = SimpleNamespace(close=self._close)

    async def _close(self) -> None:
        """End nothing: there is no connection."""

    def serve(self, answer: Callable[[list[int]], Any]) -> Any:
        async def create(request: ChatRequest, tokens: list[int]) -> Any:
            return answer(tokens)

        async def score(prompt: list[int], **_: Any) -> Any:
            return answer(prompt)

        self.engine._create = create
        self.engine._client.completions = SimpleNamespace(create=score)
        return self.engine

    def list_models(self, *cards: dict[str, Any], error: Exception | None = None) -> Any:
        async def listed() -> Any:
            if error:
                raise error
            models = [SimpleNamespace(id=card["id"], model_extra=card) for card in cards]
            return SimpleNamespace(data=models)

        models = SimpleNamespace(list=listed)
        self.engine._client.with_options = lambda **_: SimpleNamespace(models=models)
        return self.engine


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    yield made
    made.engine.close()


def numbered(count: int) -> list[ChatRequest]:
    return [ChatRequest(str(number), []) for number in range(count)]


def test_an_endpoint_s_refusal_is_told_with_its_reason(endpoint):
    engine = endpoint.serve(refusing(status_error(400, "prompt refused")))
    answers: list[Any] = []
    told = warnings_of(lambda: answers.extend(engine.complete(numbered(1))))
    assert [each.failure for each in answers] == [Failure.ENGINE_REJECTED]
    assert told == ["http://models refused 1 request: prompt refused"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_endpoint_that_refuses_everything_ends_before_anything_is_written(endpoint, status):
    engine = endpoint.serve(refusing(status_error(status, "no such field: top_k")))
    answers: list[Any] = []
    with pytest.raises(EngineFailed) as caught:
        answers.extend(engine.complete(numbered(100)))
    assert caught.value.message == (
        "http://models refused each of the first 32 requests: no such field: top_k"
    )
    assert "Correct the engine's settings" in caught.value.remedy
    assert answers == []
    with pytest.raises(EngineFailed, match="each of the first 32"):
        list(engine.score(ScoreRequest(str(number), [], ("a", "b")) for number in range(100)))


def test_an_endpoint_may_refuse_many_requests_once_it_has_accepted_one(endpoint):
    def answer(tokens: list[int]) -> Any:
        if tokens == [31]:
            return "answer"
        raise status_error(400, "prompt refused")

    found = list(endpoint.serve(answer).complete(numbered(100)))
    assert found.count("answer") == 1
    assert len(found) == 100


def test_refusals_that_the_next_request_waits_for_are_not_held_back(endpoint):
    engine = endpoint.serve(refusing(status_error(400, "prompt refused")))
    answers: list[Any] = []

    def source() -> Iterator[ChatRequest | None]:
        yield from numbered(1)
        while not answers:
            yield None

    for each in engine.complete(source()):  # the source reads `answers` meanwhile
        answers.append(each)  # noqa: PERF402
    assert [each.failure for each in answers] == [Failure.ENGINE_REJECTED]


class Panic(BaseException):
    """As tokenizers raise it: no Exception."""


@pytest.mark.parametrize(
    ("error", "raised"),
    [(RecursionError("deep"), EngineFailed), (OSError("odd"), OSError), (Panic("odd"), Panic)],
)
def test_no_error_leaves_an_endpoint_s_caller_waiting(endpoint, error, raised):
    with pytest.raises(raised, match=r"deep|odd"):
        list(endpoint.serve(refusing(error)).complete(numbered(1)))


def test_a_text_that_an_endpoint_refuses_to_score_fails_its_request_alone(endpoint):
    def answer(tokens: list[int]) -> Any:
        if tokens == [1, 8]:
            raise status_error(400, "too long")
        logprobs = [None, {str(tokens[-1]): {"logprob": -0.5, "rank": 1}}]
        return SimpleNamespace(choices=[SimpleNamespace(model_extra={"prompt_logprobs": logprobs})])

    engine = endpoint.serve(answer)
    asked = [ScoreRequest(key, [], ("a", "b")) for key in "012"]
    answers: list[Any] = []
    told = warnings_of(lambda: answers.extend(engine.score(asked)))
    found = {each.key: (each.logprobs, each.failure) for each in answers}
    assert found == {
        "0": ((-0.5, -0.5), None),
        "1": ((), Failure.ENGINE_REJECTED),
        "2": ((-0.5, -0.5), None),
    }
    assert len(answers) == 3
    assert told == ["http://models refused 1 request: too long"]


def test_an_adapter_on_a_server_has_its_base_model_s_context(endpoint):
    engine = endpoint.list_models(
        {"id": "base", "max_model_len": 8192},
        {"id": "m", "parent": "base", "max_model_len": None},
        {"id": "other", "parent": "nowhere"},
    )
    assert engine._served_models() == {"base": 8192, "m": 8192, "other": 0}


def test_what_a_server_lists_instead_of_the_model_is_named(endpoint):
    for cards, said in (((), "lists no models"), (({"id": "b"}, {"id": "a"}), "serves a, b")):
        with pytest.raises(BadInput, match=f"http://models does not serve 'm'; it {said}"):
            endpoint.list_models(*cards)._wait_for_model()
    for status in (408, 429, 503):
        error = status_error(status, "loading")
        with pytest.raises(BadInput, match=rf"cannot list its models \(status {status}\)"):
            endpoint.list_models(error=error)._wait_for_model()


def test_vllm_that_refuses_everything_ends_before_anything_is_written(client_error):
    engine = vllm_that(refusing(client_error("top_k is too large")))
    answers: list[Any] = []
    with pytest.raises(EngineFailed, match="vLLM refused each of the first 32 requests: top_k"):
        answers.extend(engine.complete(numbered(100)))
    assert answers == []
