"""The console that commands print on: untrusted text is shown as plain text."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from lidr.components.shared.core.text import printable


class PlainConsole(Console):
    """A console that reads no markup in text, and lets no control codes through but its own.

    Args:
        **options: of `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as segments; control codes in text are replaced."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def live_console() -> PlainConsole | None:
    """Return a console on stderr for output that is redrawn; None if stderr cannot redraw.

    rich draws nothing on a terminal whose TERM is dumb or unknown.
    """
    console = PlainConsole(stderr=True)
    redraws = sys.stderr.isatty() and console.is_terminal and not console.is_dumb_terminal
    return console if redraws else None
