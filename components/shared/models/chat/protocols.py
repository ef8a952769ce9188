"""What the renderer reads of a request, whichever engine it is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lidr.components.shared.records.kinds import Message


class Chat(Protocol):
    """A chat to go on with; `primer` holds the first characters of the assistant's turn."""

    @property
    def messages(self) -> Sequence[Message]:
        """What was said."""

    @property
    def primer(self) -> str:
        """The first characters of what follows."""


class GivenAnswers(Chat, Protocol):
    """A chat, and texts that may follow."""

    @property
    def continuations(self) -> tuple[str, ...]:
        """The texts."""
