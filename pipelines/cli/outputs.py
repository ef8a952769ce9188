"""How commands print what they found."""

from __future__ import annotations

from enum import StrEnum


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"
