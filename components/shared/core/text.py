"""Small facts about model text, which is untrusted and may be anything."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

_SEPARATOR = "[.,'\u2019\u00a0\u2009\u202f\u066b\u066c\uff0c\uff0e]"
_NUMBER = re.compile(
    rf"[A-Za-z]\d+(?:{_SEPARATOR}\d+)*"  # CO2, H2O, v1.2: names
    r"|(\d{1,3}(?: \d{3})+(?!\d)(?:[.,]\d+)?"  # 10 000,5: French and Russian, typed plainly
    rf"|\d+(?:{_SEPARATOR}\d+)*)"
)

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


def numbers(text: str) -> list[str]:
    """Return the numbers of a text in order, comparable across languages.

    Digits of every script become ASCII. Separators are dropped (1,000, 1.000 and 1 000 are the
    same), except before a last group that is not of three digits, or after a lone 0: there they
    mark decimals. Digits right after a Latin letter are part of a name.
    """
    return [_canonical(number) for number in _NUMBER.findall(text) if number]


def same_numbers(first: str, second: str) -> bool:
    """Tell whether two texts hold the same numbers, in any order (word order differs)."""
    return Counter(numbers(first)) == Counter(numbers(second))


def last_number(text: str) -> str | None:
    """Return the last number of a text, as `numbers` writes it: the answer of a worked solution."""
    found = numbers(text)
    return found[-1] if found else None


def is_repetitive(text: str) -> bool:
    """Tell whether a text ends in a loop: one piece, four times or more, over 60 characters."""
    tail = text.rstrip()[-2000:]
    for size in range(1, len(tail) // _REPETITION_TIMES + 1):
        piece = tail[-size:]
        times = 1
        while tail.endswith(piece * (times + 1)):
            times += 1
        if times >= _REPETITION_TIMES and times * size >= _REPETITION_MIN:
            return bool(piece.strip())
    return False


def _canonical(number: str) -> str:
    digits = "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in number)
    *groups, last = re.split(rf"{_SEPARATOR}| ", digits)
    if not groups:
        return last.lstrip("0") or "0"
    if len(last) == 3 and groups[0] != "0":
        return "".join([*groups, last]).lstrip("0") or "0"
    fraction = last.rstrip("0")
    whole = "".join(groups).lstrip("0") or "0"
    return f"{whole}.{fraction}" if fraction else whole


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest allowed word, or ""."""
    found = difflib.get_close_matches(word, list(allowed), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
