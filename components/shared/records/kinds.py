"""Chat messages, finish reasons and failures; not in `schema`, which imports pyarrow."""

from __future__ import annotations

from enum import StrEnum

Message = dict[str, str]
"""One chat message: `{"role": ..., "content": ...}`."""


class Failure(StrEnum):
    """What is wrong with a response or translation; those in `CUT_SHORT` still leave a text."""

    PROMPT_TOO_LONG = "prompt_too_long"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    UNTAGGED = "untagged"
    """The translation has no closing `</translated>` tag, or copies of our tags inside."""
    REPETITION = "repetition"
    """It reached its limit repeating itself."""
    TRANSLATION_TASK = "translation_task"
    """The prompt is about translation, so its response is not translated."""
    SOURCE_FAILED = "source_failed"
    """There was no text to translate: the source response itself failed."""
    UNCLOSED_THOUGHT = "unclosed_thought"
    """It began to think and never came to an answer."""
    ENGINE_REJECTED = "engine_rejected"


class Recovery(StrEnum):
    """The rule by which a translation without our closing tag was accepted."""

    MISSPELT_TAG = "misspelt_tag"
    """It ends with a misspelt closing tag."""
    END_OF_TURN = "end_of_turn"
    """The model ended its turn after the text, without any tag."""


CUT_SHORT = (Failure.TRUNCATED, Failure.REPETITION)
"""Failures of responses that reached their limit (`max_tokens`, or the end of the context)."""


class FinishReason(StrEnum):
    """Why the engine stopped: end of turn or a stop string, the limit, or it was not run at all."""

    STOP = "stop"
    LENGTH = "length"
    FAILED = "failed"
