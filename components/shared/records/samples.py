"""Samples of a pair stage for people to read, and the margins that training ended with."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from lidr.components.shared.core.digest import canonical_json
from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.records.schema import PreferencePair

SAMPLE_FILE = "sample.parquet"
"""In a pair stage: `PairSample`s; missing in stages of older versions."""

CUT_FILE = "cut.parquet"
"""In a pair stage: `CutSide`s; absent where there are none."""

MARGINS_FILE = "margins.parquet"
"""In a train stage: `PairMargin`s; missing in stages of older versions."""


@dataclass(frozen=True, slots=True)
class PairSample:
    """A candidate with its texts, kept (no reason) or dropped (a `DropReason`).

    `raw` is the model's output where a side is a translation that failed, or that was recovered by
    the rule `recovered` (`Recovery`).
    """

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("prompt_id", pa.string()),
            ("language", pa.string()),
            ("other_language", pa.string()),
            ("kind", pa.string()),
            ("sample", pa.int32()),
            ("reason", pa.string()),
            ("prompt", pa.string()),
            ("chosen", pa.string()),
            ("rejected", pa.string()),
            ("raw", pa.string()),
            ("recovered", pa.string()),
        ]
    )
    prompt_id: str
    language: str
    other_language: str
    kind: str
    sample: int
    reason: str | None
    prompt: str
    chosen: str | None
    rejected: str | None
    raw: str | None = None
    recovered: str | None = None


@dataclass(frozen=True, slots=True)
class CutSide:
    """A side (`chosen` or `rejected`) of a pair (`pair_key`) whose answer reached max_tokens.

    Its text is cut off, so no end of turn follows it. A translation is cut if its source is.
    """

    schema: ClassVar[pa.Schema] = pa.schema([("pair", pa.string()), ("side", pa.string())])
    pair: str
    side: str


@dataclass(frozen=True, slots=True)
class PairMargin:
    """DPO's reward margin of a pair (`pair_key`) under the model that training ended with.

    beta * ((log p(chosen) - log p_ref(chosen)) - (log p(rejected) - log p_ref(rejected))), in nats.
    """

    schema: ClassVar[pa.Schema] = pa.schema([("pair", pa.string()), ("margin", pa.float32())])
    pair: str
    margin: float


def pair_key(record: PreferencePair | PairSample) -> str:
    """Return the key that identifies a pair within its stage."""
    return canonical_json(
        [record.prompt_id, record.language, record.other_language, record.kind, record.sample]
    )


def sampling_order(prompt_id: str) -> int:
    """Return a sort key that shuffles prompts, in the same way in every step."""
    return zlib.crc32(valid_unicode(prompt_id).encode())
