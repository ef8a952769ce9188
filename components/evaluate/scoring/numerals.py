"""Numbers as they stand in text: digits of any script, separators, fractions, Chinese numerals.

Every pattern is linear in the text: a model's answer may be megabytes of anything.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from lidr.components.evaluate.scoring import hanzi, magnitudes

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

_UNSPACED = frozenset(("ja", "th", "zh"))
"""Languages in which a number stands next to the word before it."""

_ENGLISH_GROUPS = frozenset(("es",))
"""Where both 1.000 and 1,000 are a thousand: in Spain and in Mexico (and in MGSM's Spanish)."""

_FRACTIONS = {
    chr(code): unicodedata.normalize("NFKC", chr(code)).replace("\u2044", "/")
    for code in range(0xBC, 0x2190)
    if unicodedata.decomposition(chr(code)).startswith("<fraction>")
}
"""Vulgar fractions: ½ is 1/2."""

_PLAIN = (
    {
        code: str(unicodedata.decimal(chr(code)))
        for code in range(128, sys.maxunicode)
        if unicodedata.category(chr(code)) == "Nd"
    }
    | {ord(sign): f" {plain}" for sign, plain in _FRACTIONS.items() if plain[-1] != "/"}
    | {
        ord(wide): narrow
        for wide, narrow in zip("，．－＋／％＄＝：（）", ",.-+/%$=:()", strict=True)
    }
    | {ord(space): "\u00a0" for space in "\u2002\u2005\u2006\u2007\u2008\u2009\u200a\u202f"}
    | {ord(quote): "'" for quote in "’ʼ＇"}
    | {ord("٫"): ".", ord("٬"): ",", ord("\u2044"): "/", ord("\u2212"): "-", ord("﹣"): "-"}
    | dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff"))
)
"""What the patterns below do not know, in ASCII; no-break and thin spaces become one of them."""

_LATEX = (
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\\[,;:! ]"), "\u00a0"),
    (re.compile(r"\\[dtc]?frac ?\{ ?(-?[\d.,]++) ?\} ?\{ ?([\d.,]++) ?\}"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac ?(\d) ?(\d)"), r" \1/\2"),
    (re.compile(r"\\(?=[$%€£])"), ""),
)

_CURRENCY = r"(?:[$€£¥￥₹৳฿₽₩₫₦]|US\$|[A-Z]{3} ?|Rs\.? ?|R\$ ?|Tsh\.? ?|KSh\.? ?)"


def _number(spaced: bool) -> re.Pattern[str]:
    group = r"|[ ]\d{3}(?!\d)" if spaced else ""
    core = rf"(?:\d++(?:[.,'\u00a0]\d++{group})*+|(?<![\w.,])\.\d++)"
    return re.compile(
        rf"(?P<sign>[-–](?: ?{_CURRENCY})?)?+"
        rf"(?P<core>{core})"
        rf"(?P<power> ?(?:[×*·]|\\times|\\cdot) ?10\^\{{?(?P<exponent>\d{{1,2}})(?!\d)\}}?)?+"
        r"(?P<raised>\^\{?(?P<to>\d{1,2})(?!\d)\}?)?+"
        rf"(?P<over> ?/ ?(?P<below>{core}))?+"
    )


_NUMBER = {spaced: _number(spaced) for spaced in (True, False)}

_NOT_BEFORE = re.compile(r"[^\W\d_]|_", re.ASCII)
_CYRILLIC_UNIT = re.compile(r"[а-яё]", re.IGNORECASE)
_CODE_BEFORE = re.compile(r"(?:\b(?:[A-Z]{3}|Rs|Tsh|KSh|[kK]sh)|[\d\s][x×])\Z")

_RANGE = re.compile(r"(?: ?[–—~〜～] ?|-)(?=\$?\d)")
_EQUALS = re.compile(r"\s?=")
_SEPARATOR = re.compile(r"[.,'\u00a0 ]")


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text, by its place in the plain form; a range has no one value."""

    start: int
    end: int
    value: Fraction | None


def plain(text: str) -> str:
    """Return text with ASCII digits, signs and separators, LaTeX's spaces and fractions undone."""
    text = ascii_signs(text)
    if "\\" in text or "{" in text:
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text


def ascii_signs(text: str) -> str:
    """Return text with the digits, signs and separators of ASCII."""
    return text.translate(_PLAIN)


def numbers(text: str, language: str, start: int = 0, end: int = sys.maxsize) -> Iterator[Number]:
    """Yield the numbers of a plain text in order.

    Args:
        text: what `plain` returned.
        language: ISO 639-1 code: which separator is the decimal one, and what "mil" means.
        start: place to begin at.
        end: place to end at.
    """
    end = min(end, len(text))
    digits = _digit_numbers(text, language, start, end)
    if language in hanzi.LANGUAGES:
        words = (Number(*found) for found in hanzi.numbers(text, start, end))
        yield from sorted([*digits, *words], key=lambda number: number.start)
    else:
        yield from digits


def _digit_numbers(text: str, language: str, start: int, end: int) -> Iterator[Number]:
    place, pattern = start, _NUMBER[language in _SPACE_GROUPS]
    while found := pattern.search(text, place, end):
        parts = _pieces(found["core"], language)
        if len(parts) > 1:  # a list such as 1,2,3, of which only the last may have a fraction
            first = found.start("core")
            yield from _listed(text, first, parts, language)
            place = first + sum(len(part) + 1 for part in parts) - 1
            continue
        place = max(found.end(), place + 1)
        if _is_name(text, found.start("core"), found["sign"]):
            continue
        number = _valued(text, found, language)
        if number is not None:
            place = max(place, number.end)
            yield number


def _listed(text: str, place: int, parts: list[str], language: str) -> Iterator[Number]:
    for part in parts:
        value = _decimal(part, text, place, language)
        if value is not None:
            yield Number(place, place + len(part), value)
        place += len(part) + 1


def _is_name(text: str, core: int, sign: str | None) -> bool:
    """Tell the digits of m2, CO2 or x1 from a quantity; USD18 is one."""
    before = text[core - 1 : core]
    if sign or not before:
        return False
    if _CYRILLIC_UNIT.match(before) or _NOT_BEFORE.match(before):
        return not _CODE_BEFORE.search(text[max(0, core - 5) : core])
    return before == "^"


def _valued(text: str, found: re.Match[str], language: str) -> Number | None:
    core, end = found.start("core"), found.end()
    value = _decimal(found["core"], text, core, language)
    if value is None:
        return None
    if found["exponent"]:
        value *= 10 ** int(found["exponent"])
    if found["to"]:
        value **= int(found["to"])
    if found["below"]:
        value, end = _divided(value, text, found, language)
    elif (mixed := _MIXED.match(text, end)) and "." not in found["core"]:
        value, end = value + Fraction(int(mixed[1]), int(mixed[2])), mixed.end()
    value, end = magnitudes.scaled(value, text, core, end, language)
    if second := _rest_of_range(text, end, value, language):
        return Number(found.start(), second.end(), None)
    if _is_negative(text, found, language):
        value = -value
    return Number(found.start(), end, value)


_MIXED = re.compile(r"[ \u00a0](\d{1,4})/([1-9]\d{0,3})(?![\d/])")
"""The fraction of 2 1/2."""


def _divided(
    value: Fraction, text: str, found: re.Match[str], language: str
) -> tuple[Fraction, int]:
    """Return a/b; of a date such as 3/4/2024, or of a/0, only the first number."""
    below = _decimal(found["below"], text, found.start("below"), language)
    chained = text[found.end() : found.end() + 1] == "/" or text[found.start() - 1 :][:1] == "/"
    if not below or chained or len(_pieces(found["below"], language)) > 1:
        return value, found.start("over")
    return value / below, found.end()


def _rest_of_range(text: str, end: int, first: Fraction, language: str) -> re.Match[str] | None:
    """Return the 5 of 3-5, where that is a range: rising, so that 16-3 is a subtraction."""
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
        unspaced = language in _UNSPACED and not before[-1:].isascii()
        return unspaced or not before or before[-1] in " \t\n\u00a0([{=:*$€£¥~\"'|<>≈।"
    stripped = before.rstrip(" $€£¥\u00a0")
    if stripped[-1:] in ("-", "–"):  # "= - 5" is negative; "- 5 apples" is a line of a list
        return stripped[:-1].rstrip()[-1:] in ("=", "(") or (
            before.endswith(("-$", "-€", "-£", "-¥")) and stripped[-2:-1] in ("", " ", "(", "=")
        )
    return magnitudes.says_minus(stripped, language)


def _pieces(core: str, language: str) -> list[str]:
    """Return a run of digits and separators as one number, or cut into the several that it is."""
    separators = _SEPARATOR.findall(core)
    if not separators or core[0] == ".":
        return [core]
    if " " in separators:
        if _grouped(re.split("[ \u00a0]", core)):
            return [core]
        return [part for half in core.split(" ") for part in _pieces(half, language)]
    kinds = set(separators)
    if len(kinds) == 1 and len(separators) == 1:
        after = len(core) - core.index(separators[0]) - 1
        fits = after == 3 or (separators[0] in ".," and after <= 2) or separators[0] == "."
        return [core] if fits else _SEPARATOR.split(core)
    last = separators[-1]
    groups = _SEPARATOR.split(core)
    if len(kinds) == 2 and separators.count(last) == 1 and last in ".,":
        return [core] if _grouped(groups[:-1]) else _SEPARATOR.split(core)
    return [core] if len(kinds) == 1 and _grouped(groups) else groups


def _grouped(groups: list[str]) -> bool:
    """Tell whether these are a number's groups: of three digits, or of two as in 1,00,000."""
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
    """Tell whether the last separator is the decimal one, not one between groups of digits."""
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
    return after[-1] != "0" and text[:place].rstrip(" ")[-1:] not in tuple("$€£¥")
