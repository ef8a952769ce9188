"""From what a model wrote to a completion, the same in every engine."""

from __future__ import annotations

from lidr.components.shared.engines.base import ChatRequest, Completion
from lidr.components.shared.models.chat import ChatRenderer
from lidr.components.shared.records.schema import FinishReason


def stop_strings(chat: ChatRenderer, request: ChatRequest) -> tuple[str, ...]:
    """Return the strings that end a text while it is written: none while the model may think."""
    return () if chat.thinks(request) else request.decoding.stop


def completion_of(
    chat: ChatRenderer,
    request: ChatRequest,
    text: str,
    reason: FinishReason,
    prompt_tokens: int,
    output_tokens: int,
) -> Completion:
    """Return a completion without the model's thoughts.

    Args:
        chat: renders the model's chats.
        request: what was asked.
        text: what the model wrote, as `ChatRenderer.text` has it.
        reason: why the engine stopped.
        prompt_tokens: of the request.
        output_tokens: that the model wrote, its thoughts included.
    """
    said, failure, stopped = chat.answer(request, text, request.decoding.stop)
    reason = FinishReason.STOP if stopped else reason
    return Completion(request.key, said, reason, prompt_tokens, output_tokens, failure)
