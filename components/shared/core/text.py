"""Small facts about model text, which is untrusted and may be anything."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

_REPETITION_MIN = 60
_REPETITION_TIMES = 4


def valid_unicode(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot hold, by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encodable(value: Any) -> Any:
    """Replace lone surrogates in a value of JSON, at any depth."""
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, list):
        return [encodable(item) for item in value]
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return value


def one_line(text: str) -> str:
    """Return a text as one line without control codes, which would steer a terminal."""
    shown = "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in valid_unicode(text))
    return " ".join(shown.split())


def plain(line: str) -> str:
    """Return a line of a log without what would steer a terminal; spaces and tabs stay."""
    return "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in valid_unicode(line))


def printable(text: str) -> str:
    """Return a text without what would steer a terminal; its lines stay."""
    return "\n".join(map(plain, text.split("\n")))


def is_repetitive(text: str) -> bool:
    """Return whether a text ends in a loop: one piece, four times or more, over 60 characters."""
    tail = text.rstrip()[-2000:]
    for size in range(1, len(tail) // _REPETITION_TIMES + 1):
        piece = tail[-size:]
        times = 1
        while tail.endswith(piece * (times + 1)):
            times += 1
        if times >= _REPETITION_TIMES and times * size >= _REPETITION_MIN:
            return bool(piece.strip())
    return False


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest allowed word, or ""."""
    found = difflib.get_close_matches(word, list(allowed), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
