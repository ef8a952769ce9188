"""The chat requests lidr sends: answer a prompt, translate a response (paper, section 3.1)."""

from __future__ import annotations

import difflib
import re

from lidr.components.shared.core.languages import NAMES
from lidr.components.shared.records.kinds import Failure, FinishReason, Message, Recovery

TRANSLATION_PRIMER = "<translated>"
"""Start of the assistant's turn, which the model continues."""

TRANSLATION_STOP = "</translated>"

_TAG = "/?(?:sentence|translated)"
_TAGGED = re.compile(f"<({_TAG})>|\u2039(\u00b7+{_TAG})\u203a")
_MASKED = re.compile(f"\u2039\u00b7(?:(\u00b7+{_TAG})|({_TAG}))\u203a")
_OURS = re.compile(f"<{_TAG}>")
_PRIMERS = re.compile(r"\A(?:\s*<(?:translated|sentence)>)+")

# In the next two, `\s*` never follows `\s*`: a model that writes 64,000 spaces would take minutes.
_CLOSING = re.compile(r"[<\[]\s*(?:[/\\]\s*)?([^\W\d_]{4,20})\s*(?:[/\\]\s*)?[>\]]?\Z")
"""Something like a tag at the very end; `_is_ours` decides whether it is a misspelt one of ours."""

_TAG_PIECE = re.compile(r"[<\[]\s*(?:[/\\]\s*)?(?:sentence|transl)", re.IGNORECASE)
_MIN_SIMILARITY = 0.7


def answer_messages(prompt: str) -> list[Message]:
    """Return the chat that asks for an answer to `prompt`."""
    return [{"role": "user", "content": prompt}]


def scoring_messages(prompt: str, language: str, dominant: str) -> list[Message]:
    """Return the chat that precedes a response being scored, in any language (arXiv 2503.04647).

    It is the instruction in the dominant language, with a request for the response's language.

    Args:
        prompt: the instruction in the dominant language.
        language: ISO 639-1 code of the language that the response was asked for in.
        dominant: code of the dominant language.
    """
    if language == dominant:
        return answer_messages(prompt)
    request = (
        f"Answer the following instruction in {NAMES[language]} only, unless it asks for another "
        "language."
    )
    return answer_messages(f"{request}\n\n{prompt}")


def translation_messages(text: str, source: str, target: str) -> list[Message]:
    """Return the chat that asks for `text` in another language.

    The answer must be primed with `TRANSLATION_PRIMER`. Our own tags inside `text` are masked
    (`<sentence>` becomes `‹·sentence›`, and what already looks so gets one more dot), so that
    quoted text can neither close the sentence nor end the translation early; `read_translation`
    undoes it.

    Args:
        text: what to translate.
        source: ISO 639-1 code of the language of `text`.
        target: ISO 639-1 code of the language to translate to.
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

    Repeated primers before the text and the end of the sentence behind it, which some models copy,
    are not part of it. Other tags of ours inside it are a failure: quoted ones are still masked, so
    the model has copied these.

    Args:
        output: what the model wrote after the primer, its closing tag included.
        finish_reason: how the engine stopped (`FinishReason`).
    """
    if finish_reason == FinishReason.LENGTH and TRANSLATION_STOP not in output:
        return None, Failure.TRUNCATED
    text, closed, _ = output.partition(TRANSLATION_STOP)
    if not closed:
        return None, Failure.UNTAGGED
    text = _bare(text)
    if _OURS.search(text):
        return None, Failure.UNTAGGED
    return (_unmasked(text), None) if text else (None, Failure.EMPTY)


def recover_translation(output: str, stop: tuple[str, ...] = ()) -> tuple[str, Recovery] | None:
    """Return the text of a primed answer that ended without our closing tag, and the rule for it.

    A misspelt closing tag is accepted at the very end, and no tag at all where the text holds no
    piece of one of our tags. Anything else would be a guess, so None is returned; also for a text
    that a string of `stop` ended, since the model may have had more to say.

    Args:
        output: what the model wrote after the primer, to the end of its turn; not truncated.
        stop: the recipe's stop strings; `output` may end with one of them.
    """
    rule, text = Recovery.END_OF_TURN, output.rstrip()
    if (tag := _CLOSING.search(text)) and _is_ours(tag[1], tag[0]):
        rule, text = Recovery.MISSPELT_TAG, text[: tag.start()]
    elif output.endswith(stop):
        return None
    text = _bare(text)
    return (_unmasked(text), rule) if text and not _TAG_PIECE.search(text) else None


def _is_ours(word: str, tag: str) -> bool:
    """Return whether a closing tag's word is `sentence`, or similar enough to `translated`."""
    word = word.lower()
    similarity = difflib.SequenceMatcher(None, word, "translated", autojunk=False).ratio()
    # [related] and [isolated] are similar too, but no closing tags
    closes = word.startswith("tran") or "/" in tag or "\\" in tag
    return word == "sentence" or (closes and similarity >= _MIN_SIMILARITY)


def _bare(text: str) -> str:
    """Strip a text of white space around it, leading primers and a trailing `</sentence>`."""
    return _PRIMERS.sub("", text).strip().removesuffix("</sentence>").strip()


def _unmasked(text: str) -> str:
    return _MASKED.sub(lambda tag: f"\u2039{tag[1]}\u203a" if tag[1] else f"<{tag[2]}>", text)
