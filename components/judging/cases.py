"""A request to a judge, for the steps judge and grade."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lidr.components.shared.config.judge import Judge
from lidr.components.shared.core.digest import digest_of
from lidr.components.shared.records.judged import Order
from lidr.components.shared.records.schema import Message


@dataclass(frozen=True, slots=True)
class Case:
    """One request to the judge.

    Attributes:
        task: the task it belongs to.
        language: ISO 639-1 code.
        item_id: id of the question or, in grade, of the prompt.
        turn: number, from 0, of the judged turn or, in grade, of the sample.
        order: which answer comes first.
        render: returns the chat; it is rendered anew for sending, as hundreds of thousands of chats
            would not fit into memory.
        request: the `request_digest` of the chat.
    """

    task: str
    language: str
    item_id: str
    turn: int
    order: Order
    render: Callable[[], list[Message]]
    request: str


def request_digest(settings: Judge, place: Sequence[str | int], messages: Sequence[Message]) -> str:
    """Return the digest of a request.

    Args:
        settings: the judge's model, and how it is asked.
        place: task, language, item id, turn and order.
        messages: the chat.
    """
    return digest_of(
        {
            "for": list(place),
            "model": settings.endpoint.model,
            "max_tokens": settings.max_tokens,
            "top_logprobs": settings.top_logprobs,
            "messages": list(messages),
        }
    )
