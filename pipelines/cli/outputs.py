"""How commands print what they found."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated, TextIO

import typer

from lidr.components.shared.core.text import printable


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("--output", help="How the result is printed.")]


def say(text: str, *, error: bool = False, to: TextIO | None = None) -> None:
    """Print text that may quote models, servers or files; control codes are replaced.

    Args:
        text: one line or several.
        error: whether to print on stderr instead of stdout.
        to: another stream to print to.
    """
    print(printable(text), file=to or (sys.stderr if error else sys.stdout), flush=True)
