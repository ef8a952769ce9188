"""Sends requests to the judge, a server with OpenAI's chat completions API, many at once."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from lidr.components.judging.cases import Case
from lidr.components.judging.verdicts import Position
from lidr.components.shared.config.judge import Judge
from lidr.components.shared.config.machine import JudgeServer
from lidr.components.shared.core.errors import BadInput, EngineFailed, LidrError, Unavailable
from lidr.components.shared.core.json_files import is_count
from lidr.components.shared.core.redaction import without_secrets
from lidr.components.shared.core.retry import Wait
from lidr.components.shared.records.judged import JudgeFailure

_OUTAGE_FAILURES = (JudgeFailure.UNREACHABLE, JudgeFailure.SERVER_ERROR, JudgeFailure.RATE_LIMITED)
_OUTAGE_STATUSES = (429, 500, 502, 503, 504)
_PROBE_SECONDS = 10.0

_KEY_VARIABLES = ("LIDR_JUDGE_API_KEY", "OPENAI_API_KEY")


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to one request.

    Attributes:
        text: what the judge wrote, or why the server rejected the request; else "".
        positions: the text's tokens with their alternatives; empty if the server gives none.
        failure: why the text is missing or incomplete; None if it is neither.
        input_tokens: tokens of the request, as the server counts them.
        output_tokens: tokens of the reply.
    """

    text: str = ""
    positions: tuple[Position, ...] = ()
    failure: JudgeFailure | None = None
    input_tokens: int = 0
    output_tokens: int = 0


Take = Callable[[Case, Reply], None]


def ask(cases: Iterable[Case], settings: Judge, server: JudgeServer, take: Take) -> None:
    """Send every case to the judge, and pass on each reply as it arrives.

    The client library repeats a request after 429, 5xx, timeouts and broken connections, with
    exponential backoff and jitter, and heeds `Retry-After`. If that does not help and the server
    does not list its models either, all workers wait until it does. A request that still fails
    gives a reply with a failure.

    Args:
        cases: what to ask.
        settings: the judge's model, and how it decodes (always greedily).
        server: its address, and the limits on requests.
        take: called with each case and its reply; an error that it raises ends the whole call.

    Raises:
        BadInput: there is no address, the server refuses the key or has no such model, or the
            client is not installed.
        EngineFailed: the server's answers are not chat completions.
        Unavailable: the server was unavailable for LIDR_RETRY_SECONDS.
    """
    if not server.url:
        raise BadInput(
            "the recipe has a judge, but the profile names no server",
            remedy="Set judge.url in the profile.",
        )
    if find_spec("openai") is None:
        raise BadInput(
            "judging needs the openai library, which is not installed",
            remedy="Install lidr[judge].",
        )
    asyncio.run(_ask(iter(cases), settings, server, take))


async def _ask(cases: Iterator[Case], settings: Judge, server: JudgeServer, take: Take) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(
        base_url=server.url,
        api_key=next((os.environ[name] for name in _KEY_VARIABLES if os.environ.get(name)), "none"),
        max_retries=server.retries,
        timeout=server.request_seconds,
    ) as client:
        outage = _Outage(client, server.url)

        async def work() -> None:
            for case in cases:  # all workers draw from the same iterator
                began = time.monotonic()
                reply = await _reply(client, case, settings, server.url)
                if reply.failure in _OUTAGE_FAILURES and await outage.should_retry(
                    reply.failure, began
                ):
                    reply = await _reply(client, case, settings, server.url)
                take(case, reply)

        workers = [asyncio.create_task(work()) for _ in range(server.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)


class _Outage:
    """Waits until an unavailable server is back, once for all workers.

    Args:
        client: the client of the server.
        url: the server's address, for messages.
    """

    def __init__(self, client: Any, url: str) -> None:
        self._client = client.with_options(max_retries=0, timeout=_PROBE_SECONDS)
        self._url = url
        self._lock = asyncio.Lock()
        self._over = 0.0  # when the last outage ended (monotonic); infinite during one

    async def should_retry(self, failure: JudgeFailure, began: float) -> bool:
        """Wait until the server lists its models; return whether to send a failed request again.

        Args:
            failure: why the request failed.
            began: when it was sent, in seconds of the monotonic clock.

        Raises:
            Unavailable: the server was unavailable for LIDR_RETRY_SECONDS.
        """

        async def probe() -> None:
            try:
                await self._client.models.list()
            except Exception as error:
                if self._as_outage(error):  # any other error means that the server is up
                    self._over = math.inf
                    raise

        async with self._lock:
            if self._over < began:
                await Wait(f"the judge at {self._url}").call_async(probe, self._as_outage)
            if self._over == math.inf:
                self._over = time.monotonic()
        return self._over > began or failure is JudgeFailure.UNREACHABLE

    def _as_outage(self, error: Exception) -> LidrError | None:
        """Return the error to raise if an outage does not end; None if an error means no outage."""
        from openai import APIConnectionError, APIStatusError

        if isinstance(error, APIConnectionError):
            return Unavailable(
                f"the judge at {self._url} does not answer ({type(error).__name__})",
                remedy="Check that it is running, then run again: judgements are kept.",
            )
        if isinstance(error, APIStatusError) and error.status_code in _OUTAGE_STATUSES:
            return Unavailable(
                f"the judge at {self._url} is up, but cannot do its work (HTTP "
                f"{error.status_code})",
                remedy="Look at its log and its load; judgements are kept.",
            )
        return None


async def _reply(client: Any, case: Case, settings: Judge, url: str) -> Reply:
    from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

    logprobs: dict[str, Any] = {}
    if settings.top_logprobs:
        logprobs = {"logprobs": True, "top_logprobs": settings.top_logprobs}
    try:
        answer = await client.chat.completions.create(
            model=settings.endpoint.model,
            messages=case.render(),
            temperature=0.0,
            max_tokens=settings.max_tokens,
            **logprobs,
        )
        return _read(answer)
    except APITimeoutError:
        return Reply(failure=JudgeFailure.TIMEOUT)
    except APIConnectionError:
        return Reply(failure=JudgeFailure.UNREACHABLE)
    except APIStatusError as error:
        failure = _failure(error.status_code, settings, url)
        said = without_secrets(error.message) if failure is JudgeFailure.REJECTED else ""
        return Reply(said, failure=failure)
    except (OpenAIError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EngineFailed(
            f"{url} does not answer with chat completions: {error!r}",
            remedy="Correct judge.url in the profile: it ends with the version, such as /v1.",
        ) from error


def _read(answer: Any) -> Reply:
    choice, usage = answer.choices[0], answer.usage
    text = without_secrets(choice.message.content or "")
    positions = tuple(
        Position(
            token.token,
            {
                each.token: min(each.logprob, 0.0)
                for each in (*(token.top_logprobs or ()), token)
                if math.isfinite(each.logprob)
            },
        )
        for token in (choice.logprobs and choice.logprobs.content) or ()
    )
    failure = JudgeFailure.TRUNCATED if choice.finish_reason == "length" else None
    used = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    if not isinstance(text, str) or not all(map(is_count, used)):
        raise ValueError("the answer lacks its text or its usage")
    tokens = {token for each in positions for token in (each.token, *each.alternatives)}
    if not all(isinstance(token, str) for token in tokens):
        raise ValueError("the answer has log-probabilities for something that is not a token")
    return Reply(text, positions, failure or (None if text.strip() else JudgeFailure.EMPTY), *used)


def _failure(status: int, settings: Judge, url: str) -> JudgeFailure:
    if status == 404:
        raise BadInput(
            f"{url} has no model {settings.endpoint.model!r} (status 404)",
            remedy="Correct judge.url in the profile (it ends with the version, such as /v1), or "
            "judge.endpoint.model.",
        )
    if status in (401, 403):
        raise BadInput(
            f"{url} refuses the key (status {status})",
            remedy=f"Set {_KEY_VARIABLES[0]} to a key that may use it.",
        )
    if status == 429:
        return JudgeFailure.RATE_LIMITED
    if status == 408:
        return JudgeFailure.TIMEOUT
    # As 408 and 429, these two may pass (RFC 9110, section 15.5.10; RFC 8470, section 5.2).
    failed = status >= 500 or status in (409, 425)
    return JudgeFailure.SERVER_ERROR if failed else JudgeFailure.REJECTED
