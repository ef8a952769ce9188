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

_MAX_DIGITS = 100
"""A run of more digits is noise, not a quantity (and Python refuses to read 4,301 of them)."""

_DECIMAL_COMMA = frozenset(
    (
        *("af", "az", "be", "bg", "bs", "ca", "cs", "da", "de", "el", "eo", "es", "et", "eu"),
        *("fi", "fr", "hr", "hu", "hy", "id", "is", "it", "ka", "kk", "lt", "lv", "mk", "nb"),
        *("nl", "nn", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sr", "sv", "tr", "uk", "vi"),
    )
)
"""Languages that write 3,5 for three and a half, and 1.000 for a thousand."""

_SPACE_GROUPS = _DECIMAL_COMMA - {"id", "tr", "vi"}
"""Languages that write 1 000 for a thousand."""

_UNSPACED_SIGNS = frozenset(("ja", "th", "zh"))
"""Languages that write no space between a word and a number, or its sign."""

_ENGLISH_GROUPS = frozenset(("es",))
"""Languages in which both 1.000 and 1,000 are a thousand: Spain's and Mexico's (and MGSM's)."""

_CURRENCY = r"(?:[$€£¥￥₹৳฿₽₩₫₦]|US\$|[A-Z]{3} ?|Rs\.? ?|R\$ ?|Tsh\.? ?|KSh\.? ?)"

_ENDS_IN_CURRENCY = re.compile(
    r"(?:[$€£¥￥₹৳฿₽₩₫₦]|(?<![A-Za-z])(?:US\$|R\$|Rs\.?|Tsh\.?|KSh\.?|USD|EUR|GBP|JPY|CNY|INR|CHF"
    r"|BDT|BRL|KES|KRW|MXN|NGN|PLN|RUB|SEK|THB|TRY|TZS|VND))+[ \u00a0]*\Z"
)
"""Only codes that exist: "minus THE 5" is no amount."""

_POWER = r"(?:\^|\*\*(?=-?\d))"
"""Raised to: ^ or, as in programs, **."""


def _number(spaced: bool) -> re.Pattern[str]:
    group = r"|[ ]\d{3}(?!\d)" if spaced else ""
    core = rf"(?:\d++(?:[.,'\u00a0]\d++{group})*+|(?<![\w.,])\.\d++)"
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

_NOT_BEFORE = re.compile(r"[^\W\d_]|_", re.ASCII)
_CYRILLIC_UNIT = re.compile(r"[а-яё]", re.IGNORECASE)
_CODE_BEFORE = re.compile(r"(?:\b(?:[A-Z]{3}|Rs|Tsh|KSh|[kK]sh)|[\d\s][x×])\Z")

_RANGE = re.compile(r"(?: ?[–—~〜～] ?|-)\$?(?=\d)")
_EQUALS = re.compile(r"\s?=")
_SEPARATOR = re.compile(r"[.,'\u00a0 ]")


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a normalized text, from `start` to `end`.

    Attributes:
        value: None for a range, which has no single value.
        other_reading: the value if its only separator is read the other way: 1.234 in German and
            English.
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
    place, pattern = start, _NUMBER[language in _SPACE_GROUPS]
    while found := pattern.search(text, place, end):
        parts = _pieces(found["core"], language)
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
        value = _decimal(part, text, place, language)
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
    if _CYRILLIC_UNIT.match(before) or _NOT_BEFORE.match(before):
        return not _CODE_BEFORE.search(text[max(0, core - 5) : core])
    return before == "^"


def _valued(text: str, found: re.Match[str], language: str, ranges: bool) -> Number | None:
    core, end = found.start("core"), found.end()
    read = _decimal(found["core"], text, core, language)
    if read is None:
        return None
    value = _raised(read, found)
    if found["below"]:
        value, end = _divided(value, text, found, language)
    elif (mixed := _MIXED.match(text, end)) and "." not in found["core"]:
        value, end = value + Fraction(int(mixed[1]), int(mixed[2])), mixed.end()
    value, end = magnitudes.scaled(value, text, core, end, language)
    if ranges:
        if second := _rest_of_range(text, end, value, language):
            return Number(found.start(), second.end(), None)
        if _is_negative(text, found, language):
            value = -value
    return Number(found.start(), end, value, _other_reading(found["core"], read, value))


def _raised(value: Fraction, found: re.Match[str]) -> Fraction:
    """Return a value times its power of ten (1e3, 2×10^3), or to its power (10^3)."""
    for power in (found["e"], found["exponent"]):
        if power:
            value *= Fraction(10) ** int(power)
    if found["to"] and (value or not found["to"].startswith("-")):
        value **= int(found["to"])
    return value


_AMBIGUOUS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")


def _other_reading(core: str, read: Fraction, value: Fraction) -> Fraction | None:
    """Return the value if 1.234 is read the other way; None where only one reading is possible."""
    if not _AMBIGUOUS.fullmatch(core):
        return None
    return value / 1000 if read == int(core[:-4] + core[-3:]) else value * 1000


_MIXED = re.compile(r"[ \u00a0](\d{1,4})/([1-9]\d{0,3})(?![\d/])")
"""The fraction of 2 1/2."""


def _divided(
    value: Fraction, text: str, found: re.Match[str], language: str
) -> tuple[Fraction, int]:
    """Return a/b; of a date such as 3/4/2024, or of a/0, only the first number."""
    below = _decimal(found["below"], text, found.start("below"), language)
    start, end = found.span()
    chained = "/" in (text[max(0, start - 1) : start], text[end : end + 1])
    if not below or chained or len(_pieces(found["below"], language)) > 1:
        return value, found.start("over")
    return value / below, found.end()


def _rest_of_range(text: str, end: int, first: Fraction, language: str) -> re.Match[str] | None:
    """Return the 5 of 3-5 where that is a range: it must rise, so 16-3 is a subtraction."""
    dash = _RANGE.match(text, end)
    second = dash and _NUMBER[language in _SPACE_GROUPS].match(text, dash.end())
    if not second or _EQUALS.match(text, second.end()):
        return None
    value = _decimal(second["core"], text, second.start("core"), language)
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


def _pieces(core: str, language: str) -> list[str]:
    """Split a run of digits and separators into the numbers that it holds: mostly one."""
    separators = _SEPARATOR.findall(core)
    if not separators or core[0] == ".":
        return [core]
    if " " in separators:
        if _grouped(re.split("[ \u00a0]", core)):
            return [core]
        return [part for half in core.split(" ") for part in _pieces(half, language)]
    kinds = set(separators)
    last = separators[-1]
    groups = _SEPARATOR.split(core)
    if len(separators) == 1:
        after = len(groups[1])
        decimal = last == "," and (after <= 2 or language in _DECIMAL_COMMA)
        return [core] if after == 3 or decimal or last == "." else groups
    if len(kinds) == 2 and separators.count(last) == 1 and last in ".,":
        return [core] if _grouped(groups[:-1]) else groups
    return [core] if len(kinds) == 1 and _grouped(groups) else groups


def _grouped(groups: list[str]) -> bool:
    """Return whether these are a number's groups: of three digits, or of two as in 1,00,000."""
    groups = [*groups[:-1], _SEPARATOR.split(groups[-1])[0]]
    if len(groups) == 1:
        return True
    first, *middle, last = groups
    return (
        len(first) <= 3
        and len(last) == 3
        and (
            all(len(g) == 3 for g in middle)
            or (len(first) <= 2 and {len(g) for g in middle} == {2})
        )
    )


def _decimal(core: str, text: str, place: int, language: str) -> Fraction | None:
    """Return the value of one number's digits and separators."""
    if len(core) > _MAX_DIGITS:
        return None
    separators = _SEPARATOR.findall(core)
    point = (
        separators[-1] if separators and _has_point(core, separators, text, place, language) else ""
    )
    whole, _, part = core.rpartition(point) if point else (core, "", "")
    digits = _SEPARATOR.sub("", whole)
    return Fraction(int(f"{digits}{part}" or "0"), 10 ** len(part))


def _has_point(core: str, separators: list[str], text: str, place: int, language: str) -> bool:
    """Return whether the last separator is the decimal one, not one between groups of digits."""
    last = separators[-1]
    if last not in ".,":
        return False
    if len(separators) > 1:
        return len(set(separators)) > 1
    before, after = core.split(last)
    if len(after) != 3 or len(before) > 3 or before in ("", "0"):
        return True
    if language not in _DECIMAL_COMMA:
        return last == "."
    if last == "." or language in _ENGLISH_GROUPS:
        return False
    return after[-1] != "0" and _before(text, place) not in tuple("$€£¥")


def _before(text: str, place: int) -> str:
    """Return the character before a place, skipping spaces; "" at the text's beginning."""
    while place > 0 and text[place - 1] == " ":
        place -= 1
    return text[place - 1 : place] if place else ""
