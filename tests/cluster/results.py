"""What the parts found: a table, and one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

State = Literal["passed", "failed", "left out"]

FIGURES = ("overhead_share", "workflow_bytes", "kills", "equal")


class Failure(AssertionError):
    """The cluster, or lidr on it, does not do what it should."""


class LeftOut(Exception):
    """A part cannot be told here, for the reason given: it neither passed nor failed."""


@dataclass(frozen=True)
class Result:
    """One part's outcome.

    Attributes:
        part: its name.
        state: what became of it.
        seconds: how long it took.
        found: what was seen, in a sentence.
    """

    part: str
    state: State
    seconds: float
    found: str


@dataclass
class Figures:
    """Numbers that parts measure; None is not measured.

    Attributes:
        overhead_share: Kubeflow's share of an iteration that takes an hour.
        workflow_bytes: the largest Workflow of five rounds, 16 shards and a judge.
        kills: faults whose runs ended and were compared.
        equal: whether every run made the bytes of the undisturbed one; None where none ended.
    """

    overhead_share: float | None = None
    workflow_bytes: int | None = None
    kills: int = 0
    compared: list[bool] = field(default_factory=list)

    @property
    def equal(self) -> bool | None:
        return all(self.compared) if self.compared else None


def table(results: Sequence[Result]) -> str:
    """Return the table that ends a run."""
    heads = ("part", "state", "time", "found")
    rows = [(each.part, each.state, _time(each.seconds), each.found) for each in results]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in [heads, *rows]
    )


def line(results: Sequence[Result], figures: Figures) -> str:
    """Return the line of JSON that ends a run."""
    states = [each.state for each in results]
    return json.dumps(
        {
            "parts": {each.part: each.state for each in results},
            "passed": states.count("passed"),
            "failed": states.count("failed"),
            **{name: getattr(figures, name) for name in FIGURES},
        }
    )


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
