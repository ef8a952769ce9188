"""Rendering chats into tokens, so that text inside a message can never become a control token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.shared.engines.base import ChatRequest
from components.shared.records import Message
from components.shared.text import valid_unicode


class ChatRenderer:
    """Turns requests into token ids with the tokenizer's own chat template.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._control = sorted(set(tokenizer.all_special_tokens), key=len, reverse=True)

    def render(self, request: ChatRequest) -> list[int]:
        """Return the token ids of a request, up to where the model goes on."""
        messages = [
            {**message, "content": valid_unicode(message["content"])}
            for message in request.messages
        ]
        if not any(self._has_control(message["content"]) for message in messages):
            return self._encode(self._template(messages) + request.primer)
        return self._render_apart(messages, request.primer)

    def _render_apart(self, messages: Sequence[Message], primer: str) -> list[int]:
        """Encode the template and each message's content apart, content without control tokens."""
        marks = [f"\ue000{index}\ue001" for index in range(len(messages))]
        rest = self._template(
            [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)]
        )
        tokens: list[int] = []
        for message, mark in zip(messages, marks, strict=True):
            before, _, rest = rest.partition(mark)
            tokens += self._encode(before) + self._encode(message["content"], as_text=True)
        return tokens + self._encode(rest + primer)

    def _template(self, messages: Sequence[Message]) -> str:
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=True
        )
        return text

    def _encode(self, text: str, *, as_text: bool = False) -> list[int]:
        tokens: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=as_text
        )["input_ids"]
        return tokens

    def _has_control(self, text: str) -> bool:
        return any(token in text for token in self._control)
