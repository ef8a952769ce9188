"""Messages, and why a text ends or is missing: without Parquet, whose import is slow."""

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
    """The translation did not close its `<translated>` tag."""
    REPETITION = "repetition"
    """It ran into max_tokens saying the same over and over."""
    TRANSLATION_TASK = "translation_task"
    """The prompt is about translation, so its response is not translated."""
    SOURCE_FAILED = "source_failed"
    """There was no text to translate: the source response itself failed."""
    UNCLOSED_THOUGHT = "unclosed_thought"
    """It began to think and never came to an answer."""
    ENGINE_REJECTED = "engine_rejected"


class Recovery(StrEnum):
    """The rule by which the text of a translation without our closing tag was taken after all."""

    MISSPELT_TAG = "misspelt_tag"
    """A misspelt closing tag is the last thing of it."""
    END_OF_TURN = "end_of_turn"
    """The model ended its turn after the text, and wrote no tag at all."""


CUT_SHORT = (Failure.TRUNCATED, Failure.REPETITION)
"""Failures of responses that ran into max_tokens but do have a text."""


class FinishReason(StrEnum):
    """Why the engine stopped: end of text, `max_tokens`, or it never ran."""

    STOP = "stop"
    LENGTH = "length"
    FAILED = "failed"
