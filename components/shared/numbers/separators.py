"""What the separators in a run of digits mean: groups, a decimal point, a list of numbers."""

from __future__ import annotations

import re
from fractions import Fraction

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

SPACE_GROUPS = _DECIMAL_COMMA - {"id", "tr", "vi"}
"""Languages that write 1 000 for a thousand."""

_ENGLISH_GROUPS = frozenset(("es",))
"""Languages in which both 1.000 and 1,000 are a thousand: Spain's and Mexico's (and MGSM's)."""

_SEPARATOR = re.compile(r"[.,'\u00a0 ]")


def pieces(core: str, language: str) -> list[str]:
    """Split a run of digits and separators into the numbers that it holds: mostly one."""
    separators = _SEPARATOR.findall(core)
    if not separators or core[0] == ".":
        return [core]
    for space in (" ", "\u00a0"):
        if space in separators:
            if _grouped(re.split("[ \u00a0]", core)):
                return [core]
            return [part for half in core.split(space) for part in pieces(half, language)]
    kinds = set(separators)
    last = separators[-1]
    groups = _SEPARATOR.split(core)
    if len(separators) == 1:
        after = len(groups[1])
        decimal = last == "," and (after <= 2 or language in _DECIMAL_COMMA)
        return [core] if after == 3 or decimal or last == "." else groups
    if len(kinds) == 2 and separators.count(last) == 1 and last in ".," and _grouped(groups[:-1]):
        return [core]
    if {".", ","} <= kinds:  # 1.5,2.5
        return [part for each in core.split(",") for part in pieces(each, language)]
    return [core] if len(kinds) == 1 and _grouped(groups) else groups


def _grouped(groups: list[str]) -> bool:
    """Return whether these are a number's groups: of three digits, or of two as in 1,00,000."""
    *groups, end = groups
    if not groups:
        return True
    first, *middle = groups
    last, *decimals = re.split("[.,]", end)
    return (
        all(map(str.isdigit, (*groups, last, *decimals)))
        and len(decimals) <= 1
        and len(first) <= 3
        and len(last) == 3
        and (
            all(len(g) == 3 for g in middle)
            or (len(first) <= 2 and {len(g) for g in middle} == {2})
        )
    )


def decimal(core: str, text: str, place: int, language: str) -> Fraction | None:
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
