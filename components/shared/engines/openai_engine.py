"""The engine for models on a server with OpenAI's completions API."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from lidr.components.shared.config.machine import EngineServer
from lidr.components.shared.core.errors import BadInput, EngineFailed, LidrError
from lidr.components.shared.core.events import emit
from lidr.components.shared.core.json_files import is_count
from lidr.components.shared.core.redaction import without_secrets
from lidr.components.shared.engines.base import ChatRequest, Completion, Likelihoods, ScoreRequest
from lidr.components.shared.engines.finishing import (
    FirstAnswers,
    Refusals,
    Refused,
    completion_of,
    failed_completion,
    finish_reason,
    stop_strings,
)
from lidr.components.shared.engines.openai_text import written_text
from lidr.components.shared.engines.scoring import Pass, Score, Scoring
from lidr.components.shared.models.chat import PLAIN_CHAT, ChatRenderer, ChatSettings
from lidr.components.shared.models.context import context_length
from lidr.components.shared.records.schema import Failure

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Scored = tuple[Pass, list[Score]]

_END: Any = object()
_REFUSALS = (400, 413, 422)
"""HTTP statuses with which a server refuses one request."""

_POLL_SECONDS = 5.0
_CONNECT_SECONDS = 10.0


class OpenAIEngine:
    """Sends up to `server.concurrency` requests at once to a server, which batches them itself.

    Prompts are sent as token ids from the model's own tokenizer, so the server neither applies a
    template nor finds control tokens in a text. The client library repeats requests after 429, 5xx
    and broken connections (exponential backoff with jitter, following `Retry-After`).

    Args:
        folder: the model's tokenizer and configuration; weights are not needed.
        name: the model's name on the server.
        max_length: context in tokens, at most the server's limit; 0 for that limit, or else the
            model's own.
        server: its address, and the limits on requests.
        chat: how chats are rendered.

    Raises:
        BadInput: there is no address, the server refuses the key, or it does not serve the model
            within `server.wait_minutes`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        max_length: int,
        server: EngineServer,
        chat: ChatSettings = PLAIN_CHAT,
    ) -> None:
        if not server.url:
            raise BadInput(
                "the recipe's engine is openai, but the profile names no server",
                remedy="Set engine.endpoint.url in the profile.",
            )
        from openai import AsyncOpenAI
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        self._chat = ChatRenderer.load(folder, chat)
        self._name = name
        self._server = server
        self._refusals = Refusals(server.url)
        self._silent = ""
        """How the server failed when it was last asked for its models; "" if it answered."""
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True, name="lidr-endpoint")
        self._thread.start()
        self._client = AsyncOpenAI(
            base_url=server.url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=server.retries,
            timeout=server.request_seconds,
        )
        try:
            served = self._wait_for_model()
        except BaseException:
            self.close()
            raise
        known = [length for length in (max_length, served) if length]
        self._context: int = min(known) if known else context_length(config, folder)

    def complete(self, requests: Iterable[ChatRequest | None]) -> Iterator[Completion]:
        def ask(
            request: ChatRequest,
        ) -> Completion | Coroutine[Any, Any, Completion | Refused[Completion]]:
            tokens = self._chat.render(request)
            if len(tokens) >= self._context:
                return failed_completion(request, len(tokens), Failure.PROMPT_TOO_LONG)
            return self._ask(request, tokens)

        try:
            yield from self._stream(requests, ask)
        finally:
            self._refusals.report()

    def score(self, requests: Iterable[ScoreRequest]) -> Iterator[Likelihoods]:
        # less one: the server must generate a token
        scoring = Scoring(self._chat, self._context - 1, together=False)
        try:
            answers: Iterator[Scored] = self._stream(scoring.passes(requests), self._score)
            for one, scores in answers:
                yield from scoring.collect(one, scores)
            yield from scoring.refused
        finally:
            self._refusals.report()

    def _stream(
        self,
        requests: Iterable[Request | None],
        ask: Callable[[Request], Answer | Coroutine[Any, Any, Answer | Refused[Answer]]],
    ) -> Iterator[Answer]:
        """Yield the answers to requests as they arrive; see `Engine.complete`.

        Args:
            requests: None means that no request is ready yet.
            ask: returns a coroutine that calls the server, or the answer itself.
        """
        source = iter(requests)
        answers: SimpleQueue[tuple[int, Answer | Refused[Answer] | BaseException]] = SimpleQueue()
        waiting: dict[int, Future[None]] = {}
        numbers = count()
        first = FirstAnswers[Answer](self._refusals)
        has_more = True
        try:
            while has_more or waiting:
                while has_more and len(waiting) < self._server.concurrency:
                    request = next(source, _END)
                    if request is _END or request is None:
                        has_more = request is None
                        break
                    call = ask(request)
                    if not isinstance(call, Coroutine):
                        yield call
                        continue
                    number = next(numbers)
                    task = self._put_answer(number, call, answers)
                    waiting[number] = asyncio.run_coroutine_threadsafe(task, self._loop)
                if waiting:
                    number, answer = answers.get()
                    if isinstance(answer, BaseException):
                        raise answer
                    del waiting[number]
                    yield from first.take(answer)
                else:  # the next request may depend on what is held back
                    yield from first.release()
            yield from first.release()
        finally:
            for future in waiting.values():
                future.cancel()

    def stats(self) -> dict[str, float]:
        return {}

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(_CONNECT_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CONNECT_SECONDS)
        self._loop.close()

    async def _cancel_all(self) -> None:
        """Cancel all requests and close all connections."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    async def _put_answer(
        self,
        number: int,
        call: Coroutine[Any, Any, Answer | Refused[Answer]],
        answers: SimpleQueue[tuple[int, Answer | Refused[Answer] | BaseException]],
    ) -> None:
        """Put the answer to a request, or the error that ends the engine, into `answers`."""
        from openai import APIStatusError, OpenAIError

        try:
            answers.put((number, await call))
        except APIStatusError as error:
            answers.put((number, self._refusal(error)))
        except OpenAIError as error:
            answers.put((number, self._failure("does not answer", error)))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            answers.put((number, self._failure("gives an answer that cannot be used", error)))
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # also a tokenizer's panic: else the caller waits for ever
            answers.put((number, error))

    async def _ask(
        self, request: ChatRequest, tokens: list[int]
    ) -> Completion | Refused[Completion]:
        failed = failed_completion(request, len(tokens), Failure.ENGINE_REJECTED)
        answer = await _unless_refused(self._create(request, tokens), failed)
        return answer if isinstance(answer, Refused) else self._completion(request, answer)

    async def _score(self, one: Pass) -> Scored | Refused[Scored]:
        """Request the log-probabilities of a prompt's own tokens, an extension of vLLM's server."""
        call = self._client.completions.create(
            model=self._name,
            prompt=one.context + one.targets,
            max_tokens=1,
            temperature=0.0,
            extra_body={"prompt_logprobs": 1},
        )
        answer = await _unless_refused(call, (one, []))
        if isinstance(answer, Refused):
            return answer
        logprobs = (answer.choices[0].model_extra or {}).get("prompt_logprobs")
        if not logprobs:
            raise ValueError("it has no prompt_logprobs, without which text cannot be scored")
        targets = [
            by_token[str(token)]
            for by_token, token in zip(logprobs[-len(one.targets) :], one.targets, strict=True)
        ]
        return one, [(float(each["logprob"]), each["rank"] == 1) for each in targets]

    async def _create(self, request: ChatRequest, tokens: list[int]) -> Any:
        decoding, stop = request.decoding, stop_strings(self._chat, request)
        return await self._client.completions.create(
            model=self._name,
            prompt=tokens,
            max_tokens=min(decoding.max_tokens, self._context - len(tokens)),
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seed=request.seed % 2**63,
            stop=list(stop) or None,
            extra_body={
                "top_k": decoding.top_k,
                "repetition_penalty": decoding.repetition_penalty,
                "stop_token_ids": sorted(self._chat.stops),
                "include_stop_str_in_output": bool(stop),
                "skip_special_tokens": True,
                "spaces_between_special_tokens": False,
                "return_token_ids": True,
            },
        )

    def _completion(self, request: ChatRequest, answer: Any) -> Completion:
        choice = answer.choices[0]
        used: list[Any] = [
            getattr(answer.usage, name, None) for name in ("prompt_tokens", "completion_tokens")
        ]
        if not (all(map(is_count, used)) and isinstance(choice.text, str)):
            raise ValueError("the answer lacks its text or its usage")
        if choice.finish_reason == "content_filter":
            self._refusals.add("finish_reason 'content_filter'")
            return failed_completion(request, used[0], Failure.ENGINE_REJECTED)
        reason = finish_reason(choice.finish_reason)
        text = without_secrets(written_text(self._chat, choice))
        return completion_of(self._chat, request, text, reason, *used)

    def _wait_for_model(self) -> int:
        """Wait until the server lists the model; return its context in tokens (0 if unknown)."""
        deadline = time.monotonic() + 60 * self._server.wait_minutes
        noted = False
        while True:
            served = self._served_models()
            if self._name in served:
                return served[self._name]
            if time.monotonic() >= deadline and self._silent:
                raise BadInput(
                    f"{self._server.url} {self._silent}",
                    remedy="See that it runs, or correct engine.endpoint.url in the profile.",
                )
            if time.monotonic() >= deadline:
                listed = f"serves {', '.join(sorted(served))}" if served else "lists no models"
                raise BadInput(
                    f"{self._server.url} does not serve {self._name!r}; it {listed}",
                    remedy="Serve the model under that name, or set generation.endpoint.model.",
                )
            if not noted:
                emit("note", message=f"waiting until {self._server.url} serves {self._name}")
                noted = True
            time.sleep(min(_POLL_SECONDS, max(0.0, deadline - time.monotonic())))

    def _served_models(self) -> dict[str, int]:
        """Return each served model's context in tokens, by name; empty while the server is down."""
        from openai import APIConnectionError, APIStatusError

        async def listed() -> dict[str, int]:
            page = await self._client.with_options(
                max_retries=0, timeout=_CONNECT_SECONDS
            ).models.list()
            cards = {model.id: model.model_extra or {} for model in page.data}
            return {name: _context_of(card, cards) for name, card in cards.items()}

        self._silent = ""
        try:
            return asyncio.run_coroutine_threadsafe(listed(), self._loop).result()
        except APIConnectionError as error:
            self._silent = f"does not answer ({type(error.__cause__ or error).__name__})"
            return {}
        except APIStatusError as error:
            if error.status_code >= 500 or error.status_code in (408, 409, 425, 429):
                self._silent = f"cannot list its models (status {error.status_code})"
                return {}
            if error.status_code == 404:
                raise self._no_api("has no models to list (status 404)") from error
            raise self._refusal(error) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise self._no_api(f"does not answer as OpenAI's API does: {error!r}") from error

    def _no_api(self, what: str) -> BadInput:
        return BadInput(
            f"{self._server.url} {what}",
            remedy="Correct engine.endpoint.url in the profile: it ends with the version, such as "
            "/v1.",
        )

    def _refusal(self, error: Any) -> LidrError:
        if error.status_code in (401, 403):
            return BadInput(
                f"{self._server.url} refuses the key (status {error.status_code})",
                remedy="Set OPENAI_API_KEY to a key that may use it.",
            )
        if error.status_code == 404:
            return BadInput(
                f"{self._server.url} does not serve {self._name!r} (status 404)",
                remedy="Serve the model under that name, or set generation.endpoint.model.",
            )
        return self._failure(f"answers with status {error.status_code}", error)

    def _failure(self, what: str, error: Exception) -> EngineFailed:
        return EngineFailed(
            f"{self._server.url} {what}: {error}",
            remedy="Run again: finished work is kept. If the error comes again, serve the model "
            "with vLLM, or choose another engine.",
        )


async def _unless_refused(call: Awaitable[Any], refused: Answer) -> Any:
    """Return what a call to the server returns, or `refused`, with the server's reason."""
    from openai import APIStatusError

    try:
        return await call
    except APIStatusError as error:
        if error.status_code in _REFUSALS:
            return Refused(refused, str(error))
        raise


def _context_of(card: Mapping[str, Any], cards: Mapping[str, Mapping[str, Any]]) -> int:
    """Return a served model's context in tokens, 0 if unknown.

    On vLLM's server an adapter has no length of its own, but names its base model (`parent`).
    """
    base = cards.get(card.get("parent") or "", {})
    return int(card.get("max_model_len") or base.get("max_model_len") or 0)
