"""How a model's chats are written: its template, its thoughts, the end of its turns, its tokens."""

from lidr.components.shared.models.chat.renderer import ChatRenderer
from lidr.components.shared.models.chat.settings import PLAIN_CHAT, ChatSettings
from lidr.components.shared.models.chat.turns import named_ends

__all__ = ["PLAIN_CHAT", "ChatRenderer", "ChatSettings", "named_ends"]
