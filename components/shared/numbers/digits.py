"""Parses numbers in digits: separators, fractions, powers, words such as million.

Every pattern is linear in the text: a model's answer may be megabytes of anything.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from lidr.components.shared.numbers import magnitudes
from lidr.components.shared.numbers.halves import half_end
from lidr.components.shared.numbers.separators import SPACE_GROUPS, decimal, pieces

_UNSPACED_SIGNS = frozenset(("ja", "th", "zh"))
"""Languages that write no space between a word and a number, or its sign."""

_CURRENCY_SIGN = "[$€£¥￥₹৳฿₽₩₫₦]"

_CURRENCY = rf"(?:{_CURRENCY_SIGN}|US\$|[A-Z]{{3}} ?|Rs\.? ?|R\$ ?|Tsh\.? ?|KSh\.? ?)"

_ENDS_IN_CURRENCY = re.compile(
    rf"(?:{_CURRENCY_SIGN}|(?<![A-Za-z])(?:US\$|R\$|Rs\.?|Tsh\.?|KSh\.?|USD|EUR|GBP|JPY|CNY|INR|CHF"
    r"|BDT|BRL|KES|KRW|MXN|NGN|PLN|RUB|SEK|THB|TRY|TZS|VND))+[ \u00a0]*\Z"
)
"""Only codes that exist: "minus THE 5" is no amount."""

_POWER = r"(?:\^|\*\*(?=-?\d))"
"""Raised to: ^ or, as in programs, **."""


_NO_BREAK_GROUP = r"(?:\d{3}(?!\d)|\d\d(?=\u00a0\d\d))"
"""Digits that a no-break space may join to those before it: not the fraction of 2 1/2."""


def _number(spaced: bool) -> re.Pattern[str]:
    group = r"|[ ]\d{3}(?!\d)" if spaced else ""
    core = rf"(?:\d++(?:[.,']\d++|\u00a0{_NO_BREAK_GROUP}{group})*+|(?<![\w.,])\.\d++)"
    return re.compile(
        rf"(?P<sign>[-–](?:{_CURRENCY})?)?+"
        rf"(?P<core>{core})"
        r"(?:[eE](?P<e>[+-]?\d{1,3})(?!\w))?+"
        rf"(?P<power> ?(?:[×*·⋅∙x]|{{?\\(?:times|cdot)}}?) ?10{_POWER}"
        rf"\{{?(?P<exponent>-?\d{{1,2}})(?!\d)\}}?)?+"
        rf"(?P<raised>{_POWER}\{{?(?P<to>-?\d{{1,2}})(?!\d)\}}?)?+"
        rf"(?P<over> ?/ ?(?P<below>{core}))?+"
    )


_NUMBER = {spaced: _number(spaced) for spaced in (True, False)}

_NOT_BEFORE = re.compile("[A-Za-zА-Яа-яЁё_]")
_CODE_BEFORE = re.compile(r"(?:\b(?:[A-Z]{3}|Rs|Tsh|KSh|[kK]sh)|[\d\s][x×])\Z")

_RANGE = re.compile(r"(?: ?[–—~〜～] ?|-)\$?(?=\d)")
_EQUALS = re.compile(r"\s?=")


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a normalized text, from `start` to `end`.

    Attributes:
        value: None for a range, which has no single value.
        other_reading: the value if its only separator is read the other way (1.234 in German and
            English), or without the half of 2个半小时.
    """

    start: int
    end: int
    value: Fraction | None
    other_reading: Fraction | None = None


def numbers(
    text: str, language: str, start: int = 0, end: int = sys.maxsize, *, ranges: bool = True
) -> Iterator[Number]:
    """Yield the numbers in digits of a normalized text, from `start` to `end`, in order.

    Args:
        language: ISO 639-1 code: which separator is the decimal one, and what "mil" means.
        ranges: whether 3-5 is one number without a value; if not, it is two, and none has a sign.
    """
    end = min(end, len(text))
    place, pattern = start, _NUMBER[language in SPACE_GROUPS]
    while found := pattern.search(text, place, end):
        parts = pieces(found["core"], language)
        if len(parts) > 1:  # a list such as 1,2,3: plain numbers, without sign, fraction or word
            first = found.start("core")
            yield from _listed(text, first, parts, language)
            place = first + sum(len(part) + 1 for part in parts) - 1
            continue
        place = max(found.end(), place + 1)
        if _is_in_name(text, found.start("core"), found["sign"]):
            continue
        number = _valued(text, found, language, ranges)
        if number is not None:
            dated = found["below"] and not ranges  # of 5/3/2024 each part is a number
            place = number.end if dated else max(place, number.end)
            yield number


def _listed(text: str, place: int, parts: list[str], language: str) -> Iterator[Number]:
    for part in parts:
        value = decimal(part, text, place, language)
        if value is not None:
            yield Number(place, place + len(part), value)
        place += len(part) + 1


def _is_in_name(text: str, core: int, sign: str | None) -> bool:
    """Return whether digits are part of a name such as m2, CO2 or x1; in USD18 they are not."""
    before = text[core - 1 : core]
    if sign or not before:
        return False
    if before == "_" and not re.match(r"[^\W_]|[)\]}]", text[core - 2 : core - 1]):  # _18_, __18__
        return False
    if _NOT_BEFORE.match(before):
        return not _CODE_BEFORE.search(text[max(0, core - 5) : core])
    return before == "^"


def _valued(text: str, found: re.Match[str], language: str, ranges: bool) -> Number | None:
    core = found["core"]
    read = decimal(core, text, found.start("core"), language)
    if read is None:
        return None
    value, end = _whole(read, text, found, language)
    other = None
    if _AMBIGUOUS.fullmatch(core):
        grouped = read == int(core[:-4] + core[-3:])
        other, _ = _whole(read / 1000 if grouped else read * 1000, text, found, language)
    if half := half_end(text, end):
        value, end, other = value + Fraction(1, 2), half, value
    if ranges:
        if second := _rest_of_range(text, end, value, language):
            return Number(found.start(), second.end(), None)
        if _is_negative(text, found, language):
            value, other = -value, other and -other
    return Number(found.start(), end, value, other)


_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
"""Digits whose only separator may be read both ways."""


def _whole(value: Fraction, text: str, found: re.Match[str], language: str) -> tuple[Fraction, int]:
    """Return a number with its power, fraction and words, and where it ends."""
    value, end = _raised(value, found), found.end()
    if found["below"]:
        value, end = _divided(value, text, found, language)
    elif (mixed := _MIXED.match(text, end)) and "." not in found["core"]:
        value, end = value + Fraction(int(mixed[1]), int(mixed[2])), mixed.end()
    return magnitudes.scaled(value, text, found.start("core"), end, language)


def _raised(value: Fraction, found: re.Match[str]) -> Fraction:
    """Return a value times its power of ten (1e3, 2×10^3), or to its power (10^3)."""
    for power in (found["e"], found["exponent"]):
        if power:
            value *= Fraction(10) ** int(power)
    if found["to"] and (value or not found["to"].startswith("-")):
        value **= int(found["to"])
    return value


_MIXED = re.compile(r"[ \u00a0](\d{1,4})/([1-9]\d{0,3})(?![\d/])")
"""The fraction of 2 1/2."""


def _divided(
    value: Fraction, text: str, found: re.Match[str], language: str
) -> tuple[Fraction, int]:
    """Return a/b; of a date such as 3/4/2024, or of a/0, only the first number."""
    below = decimal(found["below"], text, found.start("below"), language)
    start, end = found.span()
    chained = "/" in (text[max(0, start - 1) : start], text[end : end + 1])
    if not below or chained or len(pieces(found["below"], language)) > 1:
        return value, found.start("over")
    return value / below, found.end()


def _rest_of_range(text: str, end: int, first: Fraction, language: str) -> re.Match[str] | None:
    """Return the 5 of 3-5 where that is a range: it must rise, so 16-3 is a subtraction."""
    dash = _RANGE.match(text, end)
    second = dash and _NUMBER[language in SPACE_GROUPS].match(text, dash.end())
    if not second or _EQUALS.match(text, second.end()):
        return None
    if len(pieces(second["core"], language)) > 1:  # pages 1-2,3,18
        return None
    value = decimal(second["core"], text, second.start("core"), language)
    return second if value is not None and value > first else None


def _is_negative(text: str, found: re.Match[str], language: str) -> bool:
    start = found.start()
    before = text[max(0, start - 24) : start]
    if found["sign"]:
        unspaced = language in _UNSPACED_SIGNS and not before[-1:].isascii()
        return unspaced or not before or before[-1] in " \t\n\u00a0([{=:*$€£¥~\"'|<>≈।"
    unpriced = _ENDS_IN_CURRENCY.sub("", before)
    stripped = unpriced.rstrip(" \u00a0")
    if stripped[-1:] in ("-", "–"):  # "= - 5" is negative; "- 5 apples" is a line of a list
        attached = unpriced != before and unpriced == stripped and before[-1] not in " \u00a0"
        return stripped[:-1].rstrip()[-1:] in ("=", "(") or (
            attached and stripped[-2:-1] in ("", " ", "(", "=")
        )
    return magnitudes.says_minus(stripped, language)
