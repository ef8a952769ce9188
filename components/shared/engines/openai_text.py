"""What a model wrote, from the answer of a server with OpenAI's completions API."""

from __future__ import annotations

from typing import Any

from lidr.components.shared.core.json_files import fits
from lidr.components.shared.models.chat import ChatRenderer


def written_text(chat: ChatRenderer, choice: Any) -> str:
    """Return what the model wrote (openai's `CompletionChoice`), from its tokens if there are any.

    A server's text lacks incomplete characters. After a stop string it is used all the same;
    servers that ignore `include_stop_str_in_output` omit the stop string, but may name it.

    Raises:
        ValueError: the token ids are invalid, or they are missing and the text does not suffice.
    """
    stopped, extra = choice.finish_reason == "stop", choice.model_extra or {}
    text, tokens, stop = choice.text, extra.get("token_ids"), extra.get("stop_reason")
    if stopped and isinstance(stop, str):
        return str(text) if text.endswith(stop) else f"{text}{stop}"
    if not isinstance(tokens, list) or not tokens:
        if text and chat.needs_tokens:
            raise ValueError(
                "it gives no token_ids, without which this model's thoughts cannot be told "
                "from its answers"
            )
        return str(text)
    if not all(fits(token, int) and 0 <= token < 1 << 31 for token in tokens):
        raise ValueError("its token_ids are no tokens")
    return chat.decode(tokens[:-1] if stopped and tokens[-1] in chat.stops else tokens)
