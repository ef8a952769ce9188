"""The chat requests lidr sends: answer a prompt, translate a response (paper, section 3.1)."""

from __future__ import annotations

import re

from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.records.kinds import Failure, FinishReason, Message

TRANSLATION_PRIMER = "<translated>"
"""The first characters of the assistant's turn: the model goes on from here."""

TRANSLATION_STOP = "</translated>"

_TAG = "/?(?:sentence|translated)"
_TAGGED = re.compile(f"<({_TAG})>|\u2039(\u00b7+{_TAG})\u203a")
_MASKED = re.compile(f"\u2039\u00b7(?:(\u00b7+{_TAG})|({_TAG}))\u203a")


def answer_messages(prompt: str) -> list[Message]:
    """Return the chat that asks for an answer to `prompt`."""
    return [{"role": "user", "content": prompt}]


def translation_messages(text: str, source: str, target: str) -> list[Message]:
    """Return the chat that asks for `text` in another language.

    The answer must be primed with `TRANSLATION_PRIMER`. Our own tags inside `text` are masked
    (`<sentence>` becomes `‹·sentence›`, and what already looks so gets one more dot), so that
    quoted text can neither close the sentence nor end the translation early; `read_translation`
    undoes it.

    Args:
        text: what to translate.
        source: ISO 639-1 code of the language of `text`.
        target: ISO 639-1 code of the language wanted.
    """
    text = _TAGGED.sub(lambda tag: f"\u2039\u00b7{tag[1] or tag[2]}\u203a", text)
    instruction = (
        f"Translate the text between <sentence> and </sentence> from {NAMES[source]} to "
        f"{NAMES[target]}. Keep numbers, names, code and layout as they are. "
        f"Write the translation between <translated> and </translated>."
    )
    return [{"role": "user", "content": f"{instruction}\n<sentence>{text}</sentence>"}]


def read_translation(output: str, finish_reason: str) -> tuple[str | None, Failure | None]:
    """Return the translated text in a primed answer, or why there is none.

    Args:
        output: what the model wrote after the primer, its closing tag included.
        finish_reason: how the engine stopped (`FinishReason`).
    """
    if finish_reason == FinishReason.LENGTH and TRANSLATION_STOP not in output:
        return None, Failure.TRUNCATED
    text, closed, _ = output.partition(TRANSLATION_STOP)
    if not closed:
        return None, Failure.UNTAGGED
    text = text.strip().removeprefix(TRANSLATION_PRIMER).strip()  # some models write it once more
    text = _MASKED.sub(lambda tag: f"\u2039{tag[1]}\u203a" if tag[1] else f"<{tag[2]}>", text)
    return (text, None) if text else (None, Failure.EMPTY)
