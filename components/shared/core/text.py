"""Helpers for the text of models and logs, which is untrusted and may be anything."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

_MIN_LOOP_CHARS = 60
_MIN_LOOP_TIMES = 4
_LOOP_WINDOW_CHARS = 2000
"""Characters at a text's end in which a loop is looked for."""

_FENCE = re.compile(r"`{3,}(\w*)")
"""Where a fenced block begins, with its kind, or ends."""

_PROSE = frozenset(("markdown", "md", "plaintext", "text", "txt"))
"""Kinds of fenced blocks that hold prose."""

JOINERS = "\u200c\u200d"
"""They shape the letters beside them: in Persian, in Hindi, in emoji."""


def valid_unicode(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot hold, by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def encodable(value: Any) -> Any:
    """Replace lone surrogates in a JSON value, at any depth."""
    if isinstance(value, str):
        return valid_unicode(value)
    if isinstance(value, list):
        return [encodable(item) for item in value]
    if isinstance(value, dict):
        return {encodable(key): encodable(item) for key, item in value.items()}
    return value


def is_printable(char: str) -> bool:
    """Return whether a character cannot steer a terminal: printable to Python, space or joiner."""
    return char.isprintable() or char in JOINERS or unicodedata.category(char) == "Zs"


def one_line(text: str) -> str:
    """Return a text as one line, with control codes, which would steer a terminal, replaced."""
    shown = "".join(c if is_printable(c) or c.isspace() else "\ufffd" for c in valid_unicode(text))
    return " ".join(shown.split())


def printable_line(line: str) -> str:
    """Return a line with what would steer a terminal replaced; spaces and tabs stay."""
    return "".join(c if is_printable(c) or c == "\t" else "\ufffd" for c in valid_unicode(line))


def printable(text: str) -> str:
    """Return a text with what would steer a terminal replaced; its lines stay."""
    return "\n".join(map(printable_line, text.split("\n")))


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return the first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def is_repetitive(text: str) -> bool:
    """Return whether a text ends in a piece repeated 4 times or more, 60 characters or more in all.

    Only its last 2,000 characters count.
    """
    tail = text.rstrip()[-_LOOP_WINDOW_CHARS:]
    for size in range(1, len(tail) // _MIN_LOOP_TIMES + 1):
        piece = tail[-size:]
        times = 1
        while tail.endswith(piece * (times + 1)):
            times += 1
        if times >= _MIN_LOOP_TIMES and times * size >= _MIN_LOOP_CHARS:
            return True
    return False


def split_code(text: str) -> tuple[str, list[str]]:
    """Return a text without its fenced blocks of code, and the code of each.

    Blocks that are marked as markdown or text hold prose, and may contain code blocks. A block
    without an end goes on to the end of the text.
    """
    first, *rest = _FENCE.split(text)
    kept, blocks, in_code, depth = [first], [], False, 0
    for word, piece in zip(rest[::2], rest[1::2], strict=True):
        if in_code:  # any fence ends code, so the word behind it is not a kind
            in_code = False
            kept.append(word + piece)
        elif word.lower() in _PROSE:
            depth += 1
            kept.append(piece)
        elif depth and not word:
            depth -= 1
            kept.append(piece)
        else:
            in_code = True
            kind, line_end, code = piece.partition("\n")
            blocks.append(code if line_end else word + kind)
    return " ".join(kept), blocks


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest allowed word, or ""."""
    found = difflib.get_close_matches(word, list(allowed), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""


def normalized_text(text: str) -> str:
    """Return a text for comparison: NFKC, case-folded, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
