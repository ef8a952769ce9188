"""How a model's chats are written, as its recipe says it."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.model import Day, Model, TemplateArguments, Thinking

UNDATED = "2024-07-26"
"""The day of a chat outside a run: Llama 3's templates take it where they have no clock."""


class ChatSettings(Strict):
    """What a recipe says of chats; one and the same in every step of a run."""

    thinking: Thinking = "auto"
    """What becomes of thoughts; `auto` is decided on the template."""
    arguments: TemplateArguments = Field(default_factory=dict)
    """Of the chat template, by name."""
    date: Day = ""
    """The run's day, which templates that ask for today are told; "" outside a run."""

    @classmethod
    def of(cls, model: Model) -> ChatSettings:
        """Return what a recipe says of its model's chats."""
        return cls(thinking=model.thinking, arguments=model.template_arguments, date=model.date)

    @property
    def day(self) -> datetime:
        """Midnight of the day that chats are told, in UTC."""
        return datetime.fromisoformat(self.date or UNDATED).replace(tzinfo=UTC)


PLAIN_CHAT = ChatSettings()
"""Of a recipe that says nothing of chats, outside a run."""
