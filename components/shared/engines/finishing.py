"""Turns what a model wrote into completions, in the same way for every engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from lidr.components.shared.core.errors import EngineFailed
from lidr.components.shared.core.events import emit
from lidr.components.shared.engines.base import ChatRequest, Completion
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.schema import Failure, FinishReason

Answer = TypeVar("Answer")

MAX_FIRST_REFUSALS = 32
"""Refused requests at the start of a call after which the engine is at fault, not the prompts."""

_MAX_REASON_CHARS = 300


def stop_strings(chat: ChatRenderer, request: ChatRequest) -> tuple[str, ...]:
    """Return the strings that end generation; none if the model may think first."""
    return () if chat.thinks(request) else request.decoding.stop


def finish_reason(given: object) -> FinishReason:
    """Return why generation ended, from the name that vLLM and OpenAI's API give it.

    Raises:
        ValueError: another name: the model has neither ended its turn nor reached the limit.
    """
    if given not in ("stop", "length"):
        raise ValueError(f"an answer was broken off (finish_reason {given!r})")
    return FinishReason(str(given))


def completion_of(
    chat: ChatRenderer,
    request: ChatRequest,
    text: str,
    reason: FinishReason,
    prompt_tokens: int,
    output_tokens: int,
) -> Completion:
    """Return a completion without the model's thoughts.

    `text` is what the model wrote, as from `ChatRenderer.decode`; `reason` is why the engine
    stopped; `output_tokens` counts thoughts too.
    """
    answer, failure, stopped = chat.parse_answer(request, text, request.decoding.stop)
    reason = FinishReason.STOP if stopped else reason
    return Completion(request.key, answer, reason, prompt_tokens, output_tokens, failure)


@dataclass(frozen=True)
class Refused(Generic[Answer]):
    """An engine's refusal of one request: the answer that records it, and the engine's words."""

    answer: Answer
    reason: str


class Refusals:
    """The requests that an engine refused: their number, and the reason of the first.

    Args:
        engine: its name in the warning.
    """

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._count = 0
        self._first = ""

    def add(self, reason: str) -> None:
        """Count a refused request."""
        self._first = self._first or shorten(reason)
        self._count += 1

    def report(self) -> None:
        """Warn of the refusals since the last report, if any."""
        if self._count:
            requests = "1 request" if self._count == 1 else f"{self._count} requests, the first"
            emit("warning", message=f"{self.engine} refused {requests}: {self._first}")
        self._count, self._first = 0, ""


class FirstAnswers(Generic[Answer]):
    """The answers of one call, held back until the engine accepts a request.

    An engine that refuses every request has wrong settings. Its refusals must not be written as
    failures of the prompts, because finished work is reused.

    Args:
        refusals: counts what is refused.
    """

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._held: list[Answer] = []
        self._refused = 0
        self._accepted = False

    def take(self, answer: Answer | Refused[Answer]) -> list[Answer]:
        """Take another answer; return those to pass on.

        Raises:
            EngineFailed: the engine has refused each of the first `MAX_FIRST_REFUSALS` requests.
        """
        if not isinstance(answer, Refused):
            return [*self.accept(), answer]
        self._refusals.add(answer.reason)
        self._refused += 1
        if self._refused == MAX_FIRST_REFUSALS and not self._accepted:
            raise EngineFailed(
                f"{self._refusals.engine} refused each of the first {MAX_FIRST_REFUSALS} requests: "
                f"{shorten(answer.reason)}",
                remedy="Correct the engine's settings or the model that it serves: the prompts are "
                "not to blame.",
            )
        self._held.append(answer.answer)
        return self.release() if self._accepted else []

    def accept(self) -> list[Answer]:
        """Note that the engine has accepted a request; return the answers that were held back."""
        self._accepted = True
        return self.release()

    def release(self) -> list[Answer]:
        """Return the answers that were held back, on which the next requests may depend."""
        held, self._held = self._held, []
        return held


def shorten(reason: str) -> str:
    """Return an engine's words on one line, cut to a length."""
    return " ".join(reason.split())[:_MAX_REASON_CHARS]


def failed_completion(request: ChatRequest, prompt_tokens: int, failure: Failure) -> Completion:
    """Return the completion of a request that the engine does not serve."""
    return Completion(request.key, "", FinishReason.FAILED, prompt_tokens, 0, failure)
