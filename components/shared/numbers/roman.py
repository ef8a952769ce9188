"""Roman numerals: XIV, Ⅻ."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_NUMERAL = re.compile(
    r"(?=[IVXLCDM]{2})M{0,3}+(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})"
)
_ORDINAL = r"(?:e|ᵉ|[eè]me)?"
"""What French adds: XIXe siècle."""

_IN_TEXT = re.compile(rf"(?<!\w)({_NUMERAL.pattern}){_ORDINAL}(?!\w)")
_LONE = re.compile(rf"(?<!\w)([VX]){_ORDINAL}(?!\w)")
_SIGNS = re.compile("[\u2160-\u2188]+")


def value(text: str) -> int | None:
    """Return the value of a Roman numeral of two letters or more; None for any other text."""
    text = unicodedata.normalize("NFKC", text) if len(text) <= 4 else text
    return _value(text) if _NUMERAL.fullmatch(text) else None


def values(text: str) -> Iterator[int]:
    """Yield the values of the Roman numerals that a text holds, in capitals, two letters or more.

    Numerals that are one sign (Ⅶ) count whatever their length.
    """
    for found in _IN_TEXT.finditer(text):
        yield _value(found[1])
    for found in _SIGNS.finditer(text):
        yield _value(unicodedata.normalize("NFKC", found[0]).upper())


def lone_values(text: str) -> Iterator[int]:
    """Yield the values of V and X where they stand alone: fifth and tenth, volts and unknowns."""
    for found in _LONE.finditer(text):
        yield _value(found[1])


def _value(numeral: str) -> int:
    found = [_VALUES.get(letter, 0) for letter in numeral]
    return sum(
        -here if here < after else here for here, after in zip(found, [*found[1:], 0], strict=True)
    )
