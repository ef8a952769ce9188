"""The chat settings of a recipe."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import Field

from lidr.components.shared.config.base_model import Strict
from lidr.components.shared.config.model import Day, Model, TemplateArguments, Thinking

UNDATED = "2024-07-26"
"""The date of chats outside a run, which Llama 3's templates use when they have no clock."""


class ChatSettings(Strict):
    """How chats are rendered; the same in every step of a run."""

    thinking: Thinking = "auto"
    """What is done with thoughts; `auto` depends on the template."""
    arguments: TemplateArguments = Field(default_factory=dict)
    """Arguments of the chat template, by name."""
    date: Day = ""
    """The run's date (ISO 8601), given to templates that ask for today's; "" outside a run."""

    @classmethod
    def of(cls, model: Model) -> ChatSettings:
        """Return the chat settings of a recipe's model section."""
        return cls(thinking=model.thinking, arguments=model.template_arguments, date=model.date)

    @property
    def day(self) -> datetime:
        """Midnight, in UTC, of the date that templates get."""
        return datetime.fromisoformat(self.date or UNDATED).replace(tzinfo=UTC)


PLAIN_CHAT = ChatSettings()
"""The defaults, outside a run."""
