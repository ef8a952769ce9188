"""A model's chat template: what it writes for a conversation, and what it can be asked for.

Everything here is tried out on the template itself. The way a conversation is rendered is the same
in every step: with the recipe's arguments, its switch for thoughts, and the run's day.
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

MARK = "\ue000response\ue001"
"""Stands for what somebody says, where a template is tried out."""

_SWITCH = re.compile("think|reason", re.IGNORECASE)
_AGAINST = re.compile("^(no|disable|skip)|no_think", re.IGNORECASE)
_USER: Message = {"role": "user", "content": MARK}
_ANSWER: Message = {"role": "assistant", "content": "\ue000answer\ue001"}
_SYSTEM: Message = {"role": "system", "content": "\ue000system\ue001"}


class ChatTemplate:
    """Renders conversations.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        settings: what the recipe says of chats.

    Raises:
        BadInput: the recipe asks for thoughts in a way that the template does not offer.
    """

    def __init__(self, tokenizer: Any, settings: ChatSettings) -> None:
        self._tokenizer = tokenizer
        self._settings = settings
        self._told = False
        self.text = str(tokenizer.get_chat_template())
        # Ordinary tokens may be left over from a model that thought, as in Qwen 3's Instruct-2507.
        special = [str(t) for t in tokenizer.added_tokens_decoder.values() if t.special]
        self.marks: tuple[ThoughtMarks, ...] = find_marks(self.text, special)
        self._require_possible()

    def render(self, messages: Sequence[Message], *, generate: bool = True) -> str:
        """Return the text of a conversation.

        Args:
            messages: what was said.
            generate: whether the model is to go on, so that its turn is begun.

        Raises:
            BadInput: the template refuses the conversation.
        """
        try:
            return self._rendered(self._folded(messages), generate, self.arguments)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise BadInput(
                f"the model's chat template refuses a chat of the roles {roles}: {error}",
                remedy="Ask without them, or correct chat_template.jinja.",
            ) from error

    def before_answer(self, messages: Sequence[Message]) -> str:
        """Return what a conversation with an answer holds before the answer's text."""
        answer = {"role": "assistant", "content": MARK}
        return self.render([*messages, answer], generate=False).rpartition(MARK)[0]

    @cached_property
    def arguments(self) -> dict[str, object]:
        """What every conversation is rendered with: the recipe's own words come last."""
        off = self.switch if self.thinking == "off" else {}
        return {**off, **self._settings.arguments}

    @cached_property
    def thinking(self) -> str:
        """What becomes of thoughts: `off`, `remove`, `keep`, or `none` where there are no marks."""
        asked = self._settings.thinking
        if asked == "keep":
            return "keep" if self.marks else "none"
        if self.switch and not self._turned_on() and asked in ("auto", "off"):
            return "off"
        return "remove" if self.marks else "none"

    @cached_property
    def switch(self) -> dict[str, object]:
        """The argument that turns thoughts off, with its value; empty where there is none."""
        for name in sorted(filter(_SWITCH.search, self.variables)):
            off = bool(_AGAINST.search(name))
            if self._switches(name, off):
                return {name: off}
        return {}

    def _switches(self, name: str, off: bool) -> bool:
        """Tell whether a variable is one of yes and no that changes how a turn begins."""
        given = self._settings.arguments
        texts = [self._tried([_USER], {**given, name: value}) for value in (off, not off)]
        written = any(text is None or str(v) in text for text in texts for v in (True, False))
        return not written and texts[0] != texts[1]

    @cached_property
    def variables(self) -> frozenset[str]:
        """Names that the template reads and does not set itself."""
        return frozenset(find_undeclared_variables(environment().parse(self.text)))

    @cached_property
    def opened(self) -> bool:
        """Whether a turn that the model is to go on with begins inside a thought."""
        text = self._tried([_USER], self.arguments) or ""
        begun = text.rpartition(MARK)[2]
        return any(begun.rfind(each.opening) > begun.rfind(each.closing) for each in self.marks)

    @cached_property
    def takes_system(self) -> bool:
        """Whether it has a place for a system message."""
        text = self._tried([_SYSTEM, _USER], self.arguments)
        return text is not None and _SYSTEM["content"] in text

    @cached_property
    def uses_date(self) -> bool:
        """Whether it writes today's date into a conversation."""
        asked: list[str] = []
        for messages in ([_USER], [_SYSTEM, _USER], [_USER, _ANSWER, _USER]):
            self._tried(messages, {**self.arguments, "strftime_now": self._clock(asked)})
        return bool(asked)

    @cached_property
    def special_marks(self) -> str:
        """Control tokens that are part of the marks of thoughts."""
        added = self._tokenizer.added_tokens_decoder.values()
        marks = "".join(each.opening + each.closing for each in self.marks)
        return " ".join(sorted(str(t) for t in added if t.special and str(t) in marks))

    @property
    def harmony(self) -> bool:
        """Whether the model speaks in channels."""
        return HARMONY in self.marks

    def _require_possible(self) -> None:
        asked = self._settings.thinking
        if asked == "off" and self.marks and not self.switch:
            raise BadInput(
                "model.thinking is off, but the model thinks, and its chat template has no switch "
                "for it",
                remedy="Set model.thinking to remove, or leave it out.",
            )
        if self.switch and not self.marks and (asked == "remove" or self._turned_on()):
            raise BadInput(
                f"{next(iter(self.switch))} of the chat template is on, but nothing in the model's "
                "files shows where a thought ends",
                remedy="Leave it off, and model.thinking out.",
            )
        if asked == "keep" and self.special_marks:
            raise BadInput(
                f"model.thinking is keep, but this model's thoughts end with {self.special_marks}, "
                "a control token, which no text can hold",
                remedy="Set model.thinking to remove, or leave it out.",
            )

    def _turned_on(self) -> bool:
        return any(self._settings.arguments.get(k, v) != v for k, v in self.switch.items())

    def _folded(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages whose system text is where the template has a place for it."""
        if not messages or messages[0]["role"] != "system" or self.takes_system:
            return list(messages)
        self._note_system()
        system, *rest = messages
        for number, message in enumerate(rest):
            if message["role"] == "user":
                content = f"{system['content']}\n\n{message['content']}"
                return [*rest[:number], {**message, "content": content}, *rest[number + 1 :]]
        return [{"role": "user", "content": system["content"]}, *rest]

    def _note_system(self) -> None:
        if not self._told:
            self._told = True
            emit("note", message=f"system text: {SYSTEM_FOLDED}")

    def _tried(self, messages: Sequence[Message], arguments: Mapping[str, object]) -> str | None:
        """Return the text of a conversation that the template may refuse."""
        try:
            return self._rendered(messages, True, arguments)
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError):
            return None

    def _rendered(
        self, messages: Sequence[Message], generate: bool, arguments: Mapping[str, object]
    ) -> str:
        given = {"strftime_now": self._clock([]), **arguments}
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generate, **given
        )
        return text

    def _clock(self, asked: list[str]) -> Any:
        """Return a clock that stands still at the run's day; what it was asked goes to `asked`."""

        def strftime_now(form: str) -> str:
            asked.append(form)
            return self._settings.day.strftime(form)

        return strftime_now


SYSTEM_FOLDED = "to the front of the first user turn: the chat template has no system role"
