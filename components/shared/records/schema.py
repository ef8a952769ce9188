"""The records that steps exchange; `parquet` writes and reads them.

Joins are by `prompt_id` (and language), never by order or text. A failure is a typed reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

import pyarrow as pa

from lidr.components.shared.records.kinds import CUT_SHORT as CUT_SHORT
from lidr.components.shared.records.kinds import Failure as Failure
from lidr.components.shared.records.kinds import FinishReason as FinishReason
from lidr.components.shared.records.kinds import Message as Message


class DropReason(StrEnum):
    """Why two texts did not become a pair."""

    TRANSLATION_FAILED = "translation_failed"
    MISSING_PARTNER = "missing_partner"
    """The model has no answer in one of the two languages."""
    UNCLOSED_THOUGHT = "unclosed_thought"
    """In one of the two languages the model's thought did not end, so there is no answer."""
    TRANSLATION_TASK = "translation_task"
    """The prompt is about translation: the other language's answer is not translated back."""
    UNSCORED = "unscored"
    """Fewer than two of the prompt's samples have a score."""
    TIED = "tied"
    """All scored samples of the prompt have the same score."""
    EMPTY = "empty"
    TRUNCATED = "truncated"
    IDENTICAL = "identical"
    OFF_TARGET = "off_target"
    OFF_TARGET_REJECTED = "off_target_rejected"
    """The rejected text is not in the prompt's language."""
    REPETITION = "repetition"
    LENGTH_RATIO = "length_ratio"


class PairKind(StrEnum):
    """Which text of a preference pair is chosen (the first two: paper, section 3.2)."""

    TRANSLATION_CHOSEN = "translation_chosen"
    """Other language: the translated dominant answer is chosen over the model's own."""
    OWN_CHOSEN = "own_chosen"
    """Dominant language: the model's own answer is chosen over the translated one."""
    BEST_CHOSEN = "best_chosen"
    """The sample with the highest score is chosen over the one with the lowest."""


_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@dataclass(frozen=True, slots=True)
class Prompt:
    """One instruction in one language; `prompt_id` is the same across languages."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("prompt_id", pa.string()),
            ("language", pa.string()),
            ("text", pa.string()),
            ("answer", pa.string()),
            ("translation_task", pa.bool_()),
        ]
    )
    prompt_id: str
    language: str
    text: str
    answer: str | None = None
    translation_task: bool = False


@dataclass(frozen=True, slots=True)
class Response:
    """The model's own answer to a prompt, in the prompt's language; `sample` counts from 0."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("prompt_id", pa.string()),
            ("language", pa.string()),
            ("text", pa.string()),
            ("finish_reason", pa.string()),
            ("prompt_tokens", pa.int32()),
            ("output_tokens", pa.int32()),
            ("detected_language", pa.string()),
            ("failure", pa.string()),
            ("sample", pa.int32()),
        ]
    )
    prompt_id: str
    language: str
    text: str
    finish_reason: str
    prompt_tokens: int
    output_tokens: int
    detected_language: str
    failure: str | None = None
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Translation:
    """A response translated by the model itself; `text` is None when it failed.

    `raw` is the model's output, kept unless it is just `text` in our tags; `recovered` is the rule
    (`Recovery`) that found `text` in an output without our closing tag.
    """

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("prompt_id", pa.string()),
            ("source_language", pa.string()),
            ("target_language", pa.string()),
            ("text", pa.string()),
            ("finish_reason", pa.string()),
            ("output_tokens", pa.int32()),
            ("failure", pa.string()),
            ("sample", pa.int32()),
            ("raw", pa.string()),
            ("recovered", pa.string()),
        ]
    )
    prompt_id: str
    source_language: str
    target_language: str
    text: str | None
    finish_reason: str
    output_tokens: int
    failure: str | None = None
    sample: int = 0
    raw: str | None = None
    recovered: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """A rewarder's score of one response; `value` is None if `failure` is set. Higher is better.

    `failure` is a `Failure` or a `JudgeFailure`.
    """

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("prompt_id", pa.string()),
            ("language", pa.string()),
            ("sample", pa.int32()),
            ("value", pa.float64()),
            ("failure", pa.string()),
        ]
    )
    prompt_id: str
    language: str
    sample: int
    value: float | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """A pair in TRL's conversational form (https://huggingface.co/docs/trl/dataset_formats)."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("prompt", _MESSAGES),
            ("chosen", _MESSAGES),
            ("rejected", _MESSAGES),
            ("prompt_id", pa.string()),
            ("language", pa.string()),
            ("other_language", pa.string()),
            ("kind", pa.string()),
            ("iteration", pa.int32()),
            ("source_model", pa.string()),
            ("sample", pa.int32()),
        ]
    )
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    prompt_id: str
    language: str
    other_language: str
    kind: str
    iteration: int
    source_model: str
    sample: int = 0


@dataclass(frozen=True, slots=True)
class DroppedPair:
    """A pair that was dropped, and why (`DropReason`); `raw` is a failed translation's output."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("prompt_id", pa.string()),
            ("language", pa.string()),
            ("other_language", pa.string()),
            ("kind", pa.string()),
            ("reason", pa.string()),
            ("sample", pa.int32()),
            ("raw", pa.string()),
        ]
    )
    prompt_id: str
    language: str
    other_language: str
    kind: str
    reason: str
    sample: int = 0
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class EvalItem:
    """One evaluated item: what was asked, what came back and whether it was right."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("task", pa.string()),
            ("language", pa.string()),
            ("item_id", pa.string()),
            ("prompt", pa.string()),
            ("response", pa.string()),
            ("target", pa.string()),
            ("score", pa.float64()),
            ("detected_language", pa.string()),
            ("finish_reason", pa.string()),
            ("output_tokens", pa.int32()),
        ]
    )
    task: str
    language: str
    item_id: str
    prompt: str
    response: str
    target: str
    score: float
    detected_language: str
    finish_reason: str
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """An evaluated item that shares n-grams of `size` units (words or characters) with prompts.

    `prompts` is the number of training prompts that share one; `prompt_ids` are the first of them.
    """

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("task", pa.string()),
            ("language", pa.string()),
            ("item_id", pa.string()),
            ("size", pa.int32()),
            ("ngram", pa.string()),
            ("prompts", pa.int64()),
            ("prompt_ids", pa.list_(pa.string())),
        ]
    )
    task: str
    language: str
    item_id: str
    size: int
    ngram: str
    prompts: int
    prompt_ids: list[str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model wrote in one turn of a judged question; `turn` counts from 0."""

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("task", pa.string()),
            ("language", pa.string()),
            ("item_id", pa.string()),
            ("turn", pa.int32()),
            ("prompt", pa.string()),
            ("response", pa.string()),
            ("finish_reason", pa.string()),
            ("output_tokens", pa.int32()),
            ("detected_language", pa.string()),
        ]
    )
    task: str
    language: str
    item_id: str
    turn: int
    prompt: str
    response: str
    finish_reason: str
    output_tokens: int
    detected_language: str = ""
