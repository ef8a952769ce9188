"""What the renderer reads of an engine's requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lidr.components.shared.records.kinds import Message


class Chat(Protocol):
    """A chat that the model continues."""

    @property
    def messages(self) -> Sequence[Message]:
        """The chat so far."""

    @property
    def primer(self) -> str:
        """The first characters of the assistant's turn; "" for none."""


class GivenAnswers(Chat, Protocol):
    """A chat and texts that may continue it."""

    @property
    def continuations(self) -> tuple[str, ...]:
        """The texts, at least one."""
