"""A model's chats: template, thoughts, ends of turns, and conversion to tokens and back."""

from lidr.components.shared.models.chat.renderer import ChatRenderer
from lidr.components.shared.models.chat.settings import PLAIN_CHAT, ChatSettings
from lidr.components.shared.models.chat.turns import eos_token_ids

__all__ = ["PLAIN_CHAT", "ChatRenderer", "ChatSettings", "eos_token_ids"]
