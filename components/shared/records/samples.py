"""What people read of a pair stage: a sample of its candidates, and how training ended on them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from lidr.components.shared.core.digest import canonical_json
from lidr.components.shared.core.text import valid_unicode
from lidr.components.shared.records.schema import PreferencePair

SAMPLE_FILE = "sample.parquet"
"""In a pair stage; stages of older versions lack it."""

CUT_FILE = "cut.parquet"
"""In a pair stage: the sides that were cut; absent where there are none."""

MARGINS_FILE = "margins.parquet"
"""In a train stage; stages of older versions lack it."""


@dataclass(frozen=True, slots=True)
class PairSample:
    """A candidate with its texts, kept (no reason) or dropped (a `DropReason`).

    `raw` is what the model wrote where a side is a translation that failed, or was recovered by the
    rule `recovered` (`Recovery`).
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
    """A side (`chosen` or `rejected`) of a pair (`pair_key`) whose answer ran into max_tokens.

    Its text ends in the middle, so its turn does not end with it. Of a translation it is the answer
    that was translated.
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
    """Return a prompt's place in samples: as if drawn by lot, and the same in every step."""
    return zlib.crc32(valid_unicode(prompt_id).encode())
