"""Judgements, and why one may have no value."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

import pyarrow as pa


class JudgeFailure(StrEnum):
    """Why a judgement has no value."""

    UNPARSABLE = "unparsable"
    """It does not hold the verdict that was asked for."""
    CONTRADICTORY = "contradictory"
    """It gives several scores."""
    OUT_OF_RANGE = "out_of_range"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    REJECTED = "rejected"
    """The server refused the request, mostly because it is too long."""
    TIMEOUT = "timeout"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    UNREACHABLE = "unreachable"


class Order(StrEnum):
    """Which answer the judge read first."""

    CANDIDATE_FIRST = "candidate_first"
    CANDIDATE_SECOND = "candidate_second"
    ALONE = "alone"
    """There was one answer, which got a score."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """One output of a judge, `raw` (for a rejected request, what the server said), and its value.

    `value` is the probability that the model's answer is the better one, or a score from 0 to 10;
    None where there is a failure. `logprobs` are those of the most likely tokens at the place of
    the verdict. `request` is the digest of the request.
    """

    schema: ClassVar[pa.Schema] = pa.schema(
        [
            ("task", pa.string()),
            ("language", pa.string()),
            ("item_id", pa.string()),
            ("turn", pa.int32()),
            ("order", pa.string()),
            ("raw", pa.string()),
            ("logprobs", pa.list_(pa.struct([("token", pa.string()), ("logprob", pa.float64())]))),
            ("value", pa.float64()),
            ("failure", pa.string()),
            ("input_tokens", pa.int32()),
            ("output_tokens", pa.int32()),
            ("request", pa.string()),
        ]
    )
    task: str
    language: str
    item_id: str
    turn: int
    order: str
    raw: str
    logprobs: list[dict[str, Any]]
    value: float | None
    failure: str | None
    input_tokens: int
    output_tokens: int
    request: str
