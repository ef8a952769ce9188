"""What a model wrote, as a server with OpenAI's completions API tells it."""

from __future__ import annotations

from typing import Any

from lidr.components.shared.core.json_files import fits
from lidr.components.shared.models.chat import ChatRenderer


def written_text(chat: ChatRenderer, choice: Any) -> str:
    """Return what was written, from the tokens where the server gives them.

    A server's own text lacks a character that was cut short; one that knows nothing of
    `include_stop_str_in_output` leaves the stop string out, but may name it.

    Args:
        chat: of the model.
        choice: one choice of an answer (openai's `CompletionChoice`).

    Raises:
        ValueError: the tokens are none, or are missing where the text alone does not suffice.
    """
    stopped, extra = choice.finish_reason == "stop", choice.model_extra or {}
    text, tokens, ended = choice.text, extra.get("token_ids"), extra.get("stop_reason")
    if stopped and isinstance(ended, str):
        return str(text) if text.endswith(ended) else f"{text}{ended}"
    if not isinstance(tokens, list) or not tokens:
        if text and chat.needs_tokens:
            raise ValueError(
                "it gives no token_ids, without which this model's thoughts cannot be told "
                "from its answers"
            )
        return str(text)
    if not all(fits(token, int) and 0 <= token < 1 << 31 for token in tokens):
        raise ValueError("its token_ids are no tokens")
    return chat.text(tokens[:-1] if stopped and tokens[-1] in chat.stops else tokens)
