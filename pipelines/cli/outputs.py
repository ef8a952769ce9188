"""How commands print what they found."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TextIO

from lidr.components.shared.core.text import printable


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


def say(text: str, *, error: bool = False, to: TextIO | None = None) -> None:
    """Print lines that may quote models, servers or files, as text and nothing else.

    Args:
        text: one line or several.
        error: on stderr instead of stdout.
        to: where else.
    """
    print(printable(text), file=to or (sys.stderr if error else sys.stdout), flush=True)
