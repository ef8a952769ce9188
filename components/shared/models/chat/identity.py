"""What of a model's chats a stage is addressed by."""

from __future__ import annotations

from pathlib import Path

from lidr.components.shared.config.model import Model
from lidr.components.shared.models.chat.settings import ChatSettings
from lidr.components.shared.models.chat.template import ChatTemplate


def chat_identity(model: Model, folder: Path | None = None) -> dict[str, object]:
    """Return what a recipe says of chats, for the address of a stage: what changes a prompt.

    Args:
        model: the recipe's.
        folder: the model's files; None where its template does not ask for today.
    """
    given: dict[str, object] = {
        "thinking": "" if model.thinking == "auto" else model.thinking,
        "template_arguments": dict(model.template_arguments),
        "date": model.date if folder and _asks_for_today(model, folder) else "",
    }
    return {name: value for name, value in given.items() if value}


def _asks_for_today(model: Model, folder: Path) -> bool:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return ChatTemplate(tokenizer, ChatSettings.of(model)).uses_date
