"""The chat settings that are part of a stage's digest."""

from __future__ import annotations

from pathlib import Path

from lidr.components.shared.config.model import Model
from lidr.components.shared.models.chat.settings import ChatSettings
from lidr.components.shared.models.chat.template import ChatTemplate


def chat_identity(model: Model, folder: Path | None = None) -> dict[str, object]:
    """Return the chat settings of a recipe that change a prompt.

    Args:
        model: the recipe's `model` section.
        folder: the model's files; None if its template is known to use no date.
    """
    given: dict[str, object] = {
        "thinking": "" if model.thinking == "auto" else model.thinking,
        "template_arguments": dict(model.template_arguments),
        "date": model.date if folder and _uses_date(model, folder) else "",
    }
    return {name: value for name, value in given.items() if value}


def _uses_date(model: Model, folder: Path) -> bool:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return ChatTemplate(tokenizer, ChatSettings.of(model)).uses_date
