"""The table of evaluation items that also appear among the training prompts."""

from __future__ import annotations

from typing import Any

from lidr.components.report.blocks import Table, measured, swatch
from lidr.components.report.history import Round
from lidr.components.shared.config.recipe import Recipe


def overlaps(settings: Recipe, item: Round) -> list[Table]:
    """Return how many items overlap with training prompts, and the accuracy without them."""
    found = item.counts("evaluate").get("contamination")
    if not found:
        return []
    head = [
        text
        for size, row in found.items()
        for text in (f"Items that share {size}", f"Accuracy without those, {size}")
    ]
    lines = [
        [
            swatch(settings.languages, code),
            str(next(iter(found.values()))["languages"][code]["unit"]),
            *(cell for row in found.values() for cell in _overlap_cells(row["languages"][code])),
        ]
        for code in settings.languages.all
        if all(code in row["languages"] for row in found.values())
    ]
    caption = (
        f"Evaluation items of {item.name} that share 13 or 8 words (or characters) in a row, or "
        "their whole text, with a training prompt, and accuracy without them"
    )
    return [Table(caption, ["Language", "Unit", *head], lines, folded=True)]


def _overlap_cells(row: dict[str, Any]) -> list[str]:
    return [f"{row['overlapping']} of {row['items']}", measured(row["without"])]
