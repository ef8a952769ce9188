"""Messages, and why a text ends or is missing; apart from `schema`, whose imports are slow."""

from __future__ import annotations

from enum import StrEnum

Message = dict[str, str]
"""One chat message: `{"role": ..., "content": ...}`."""


class Failure(StrEnum):
    """Why a response or translation has no usable text."""

    PROMPT_TOO_LONG = "prompt_too_long"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    UNTAGGED = "untagged"
    """The translation has no closing `</translated>` tag."""
    REPETITION = "repetition"
    """It reached max_tokens repeating itself."""
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
"""Failures of responses that reached max_tokens but do have a text."""


class FinishReason(StrEnum):
    """Why the engine stopped: end of text, `max_tokens`, or it never ran."""

    STOP = "stop"
    LENGTH = "length"
    FAILED = "failed"
