"""The table of a long run, on the terminal and in docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN, _END = "<!-- faults: begin -->", "<!-- faults: end -->"


@dataclass(frozen=True)
class Row:
    """One kind of fault.

    Attributes:
        fault: what was done.
        tried: how often.
        held: how often everything held.
        found: what was compared, or went wrong.
    """

    fault: str
    tried: int
    held: int
    found: str = ""


def written(rows: Sequence[Row], seed: int) -> None:
    """Put the rows into the page, between its two comments."""
    lines = [
        f"Seed {seed}.",
        "",
        "| fault | tried | held | |",
        "|---|---|---|---|",
        *(f"| {row.fault} | {row.tried} | {row.held} | {row.found} |" for row in rows),
    ]
    page = _PAGE.read_text()
    before, after = page.split(_BEGIN)[0], page.split(_END)[1]
    _PAGE.write_text(f"{before}{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}{after}")
