"""Makes completions of what a model wrote, in the same way for every engine."""

from __future__ import annotations

from lidr.components.shared.core.events import emit
from lidr.components.shared.engines.base import ChatRequest, Completion
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.schema import Failure, FinishReason

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


class Refusals:
    """The requests that an engine refused: their number, and the reason of the first.

    Args:
        engine: its name in the warning.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._count = 0
        self._first = ""

    def completion(self, request: ChatRequest, prompt_tokens: int, reason: str) -> Completion:
        """Count a refused request, and return its completion."""
        self._first = self._first or " ".join(reason.split())[:_MAX_REASON_CHARS]
        self._count += 1
        return failed_completion(request, prompt_tokens, Failure.ENGINE_REJECTED)

    def report(self) -> None:
        """Warn of the refusals since the last report, if any."""
        if self._count:
            requests = "1 request" if self._count == 1 else f"{self._count} requests, the first"
            emit("warning", message=f"{self._engine} refused {requests}: {self._first}")
        self._count, self._first = 0, ""


def failed_completion(request: ChatRequest, prompt_tokens: int, failure: Failure) -> Completion:
    """Return the completion of a request that the engine does not serve."""
    return Completion(request.key, "", FinishReason.FAILED, prompt_tokens, 0, failure)
