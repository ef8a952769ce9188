"""The report's charts as SVG files, for viewers that show only images, such as MLflow."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lidr.components.report.blocks import Section
from lidr.components.report.html import style_sheet

_NON_WORD = re.compile(r"[^a-z0-9]+")


def plots(sections: Sequence[Section]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, SVG) of every chart in the sections of a report."""
    style = style_sheet()
    for section in sections:
        for number, chart in enumerate(section.charts, start=1):
            if not chart.image:  # a legend alone
                continue
            words = _NON_WORD.sub("-", f"{section.identity} {number} {chart.caption[:60].lower()}")
            image = standalone(str(chart.image), style)
            yield f"{words.strip('-')}.svg", image.encode("utf-8", "replace")


def standalone(image: str, style: str) -> str:
    """Return an inline SVG as a document of its own, with namespace and style sheet.

    Args:
        image: SVG that begins with `<svg `.
        style: our own CSS; it is not escaped.
    """
    opening, _, rest = image.partition(">")
    named = opening.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{named}><style>{style}</style>{rest}"
