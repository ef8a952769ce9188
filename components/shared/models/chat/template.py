"""A model's chat template: how it renders a conversation, and which features it has.

Features are found by trying the template out. Every step renders conversations in the same way,
with the recipe's arguments, the template's switch for thoughts, and the run's date.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from jinja2 import TemplateError
from jinja2.meta import find_undeclared_variables

from lidr.components.shared.core.errors import BadInput
from lidr.components.shared.core.events import emit
from lidr.components.shared.models.chat.settings import ChatSettings
from lidr.components.shared.models.chat.thoughts import HARMONY, ThoughtMarks, find_marks
from lidr.components.shared.models.template_probe import environment
from lidr.components.shared.records.kinds import Message

PLACEHOLDER = "\ue000response\ue001"
"""Content of a message in trial renderings."""

_REFUSALS = (TemplateError, TypeError, ValueError, KeyError, AttributeError)
"""What a template raises when it refuses a conversation or an argument."""
_SWITCH_NAME = re.compile("think|reason", re.IGNORECASE)
_NEGATED = re.compile("^(no|disable|skip)|no_think", re.IGNORECASE)
ANSWER: Message = {"role": "assistant", "content": PLACEHOLDER}
_USER: Message = {"role": "user", "content": PLACEHOLDER}
_SYSTEM: Message = {"role": "system", "content": "\ue000system\ue001"}


class ChatTemplate:
    """Renders conversations.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        settings: the recipe's settings of chats.

    Raises:
        BadInput: the template does not allow the recipe's `model.thinking`.
    """

    def __init__(self, tokenizer: Any, settings: ChatSettings) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._noted_system = False
        self.text = str(tokenizer.get_chat_template())
        # Ordinary added tokens do not count: Qwen 3 Instruct-2507 has <think> among them, but never
        # thinks.
        special = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
        self.marks: tuple[ThoughtMarks, ...] = find_marks(self.text, special)
        self._check_thinking()

    def render(self, messages: Sequence[Message], *, generate: bool = True) -> str:
        """Return the text of a conversation.

        Args:
            messages: the conversation.
            generate: whether to begin the assistant's turn, for the model to continue.

        Raises:
            BadInput: the template refuses the conversation.
        """
        try:
            return self._rendered(self._folded(messages), generate, self.arguments)
        except _REFUSALS as error:
            roles = ", ".join(message["role"] for message in messages)
            raise BadInput(
                f"the model's chat template refuses a chat of the roles {roles}: {error}",
                remedy="Avoid these roles, or correct model.template_arguments or "
                "chat_template.jinja.",
            ) from error

    def before_answer(self, messages: Sequence[Message]) -> str:
        """Return the text of an answered conversation up to the answer itself."""
        return self.render([*messages, ANSWER], generate=False).rpartition(PLACEHOLDER)[0]

    @cached_property
    def arguments(self) -> dict[str, object]:
        """Arguments of every rendering; the recipe's own override the switch for thoughts."""
        off = self.switch if self.thinking == "off" else {}
        return {**off, **self._settings.arguments}

    @cached_property
    def thinking(self) -> str:
        """What is done with thoughts: `off`, `remove`, `keep`; `none` if the model has no marks."""
        asked = self._settings.thinking
        if asked == "keep":
            return "keep" if self.marks else "none"
        if self.switch and not self._turned_on() and asked in ("auto", "off"):
            return "off"
        return "remove" if self.marks else "none"

    @cached_property
    def switch(self) -> dict[str, object]:
        """The argument that turns thoughts off, with its value; empty if there is none."""
        for name in sorted(filter(_SWITCH_NAME.search, self.variables)):
            off = bool(_NEGATED.search(name))
            if self._switches(name, off):
                return {name: off}
        return {}

    def _switches(self, name: str, off: bool) -> bool:
        """Tell whether a variable is a boolean that changes how a turn begins."""
        given = self._settings.arguments
        texts = [self._try_render([_USER], {**given, name: value}) for value in (off, not off)]
        written = any(text is None or str(v) in text for text in texts for v in (True, False))
        return not written and texts[0] != texts[1]

    @cached_property
    def variables(self) -> frozenset[str]:
        """Variables that the template takes from outside."""
        return frozenset(find_undeclared_variables(environment().parse(self.text)))

    @cached_property
    def opened(self) -> bool:
        """Whether the assistant's turn begins inside a thought."""
        text = self._try_render([_USER], self.arguments) or ""
        start = text.rpartition(PLACEHOLDER)[2]
        return any(start.rfind(each.opening) > start.rfind(each.closing) for each in self.marks)

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template renders system messages."""
        text = self._try_render([_SYSTEM, _USER], self.arguments)
        return text is not None and _SYSTEM["content"] in text

    @cached_property
    def uses_date(self) -> bool:
        """Whether the template writes today's date into a conversation."""
        formats: list[str] = []
        for messages in ([_USER], [_SYSTEM, _USER], [_USER, ANSWER, _USER]):
            self._try_render(messages, {**self.arguments, "strftime_now": self._clock(formats)})
        return bool(formats)

    @cached_property
    def special_marks(self) -> str:
        """The special tokens in the thought marks, separated by spaces."""
        added = self._tokenizer.added_tokens_decoder.values()
        marks = "".join(each.opening + each.closing for each in self.marks)
        return " ".join(sorted(str(t) for t in added if t.special and str(t) in marks))

    @property
    def harmony(self) -> bool:
        """Whether the model writes Harmony channels."""
        return HARMONY in self.marks

    def _check_thinking(self) -> None:
        asked, switch = self._settings.thinking, next(iter(self.switch), "")
        if asked == "off" and self.marks and not switch:
            raise BadInput(
                "model.thinking is off, but the model thinks, and its chat template has no switch "
                "for it",
                remedy="Set model.thinking to remove, or leave it out.",
            )
        if asked == "off" and self._turned_on():
            raise BadInput(
                f"model.thinking is off, but model.template_arguments.{switch} turns thoughts on",
                remedy="Leave out one of the two.",
            )
        if switch and not self.marks and (asked == "remove" or self._turned_on()):
            key = f"template_arguments.{switch}" if self._turned_on() else "thinking"
            raise BadInput(
                f"model.{key} lets the model think, but nothing in its files shows where a thought "
                "ends",
                remedy=f"Leave out model.thinking and model.template_arguments.{switch}: thoughts "
                "are then turned off.",
            )
        if asked == "keep" and self.special_marks:
            raise BadInput(
                "model.thinking is keep, but this model marks its thoughts with special tokens "
                f"({self.special_marks}), which are removed from texts, so thoughts cannot be kept",
                remedy="Set model.thinking to remove, or leave it out.",
            )

    def _turned_on(self) -> bool:
        return any(self._settings.arguments.get(k, v) != v for k, v in self.switch.items())

    def _folded(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages, with system text in the first user turn if there is no system role."""
        if not messages or messages[0]["role"] != "system" or self.takes_system:
            return list(messages)
        if not self._noted_system:
            self._noted_system = True
            emit(
                "note",
                message="the chat template has no system role: system text goes to the front of "
                "the first user turn",
            )
        system, *rest = messages
        for number, message in enumerate(rest):
            if message["role"] == "user":
                content = f"{system['content']}\n\n{message['content']}"
                return [*rest[:number], {**message, "content": content}, *rest[number + 1 :]]
        return [{"role": "user", "content": system["content"]}, *rest]

    def _try_render(
        self, messages: Sequence[Message], arguments: Mapping[str, object]
    ) -> str | None:
        """Return the text of a conversation; None if the template refuses it."""
        try:
            return self._rendered(messages, True, arguments)
        except _REFUSALS:
            return None

    def _rendered(
        self, messages: Sequence[Message], generate: bool, arguments: Mapping[str, object]
    ) -> str:
        given = {"strftime_now": self._clock([]), **arguments}
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generate, **given
        )
        return text

    def _clock(self, formats: list[str]) -> Any:
        """Return a `strftime_now` fixed at the run's date; it appends each format to `formats`."""

        def strftime_now(format_: str) -> str:
            formats.append(format_)
            return self._settings.day.strftime(format_)

        return strftime_now
