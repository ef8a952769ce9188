"""Checks whether a translation keeps the numbers of its source, however each is written."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction
from functools import cached_property

from lidr.components.shared.numbers import digits, hanzi, roman, words
from lidr.components.shared.numbers.normalize import normalized

_HAN = frozenset(("ja", "ko", "zh"))
_MONTH = re.compile(r" ?[月월]")
_DATE = re.compile(r"(?<!\d)\d{1,4}([/.-])\d{1,2}\1\d{1,4}(?!\d)")
_MONTHS = 12
_DENOMINATORS_WITH_WORDS = (2, 3, 4)
"""Halves, thirds and quarters have words that are not read."""

_MAX_CHARS = 50_000
"""A longer text is a model's loop, whose numbers show nothing."""


class _Numbers:
    """The numbers of one text.

    Attributes:
        digits: those in digits, counted.
        other_readings: of numbers in digits, the value if a separator is read the other way.
        months: those that may be a month, which another language may write as a name.
    """

    def __init__(self, text: str, language: str) -> None:
        self._text, self._language = normalized(text), language
        numbers = digits.numbers(self._text, language, ranges=False)
        found = [(each.value, each) for each in numbers if each.value is not None]
        dated = {at for each in _DATE.finditer(self._text) for at in range(*each.span())}
        self.months = {
            value
            for value, each in found
            if value <= _MONTHS and (each.start in dated or _MONTH.match(self._text, each.end))
        }
        self.digits = Counter(value for value, _ in found)
        self.other_readings = {
            value: each.other_reading for value, each in found if each.other_reading is not None
        }

    @cached_property
    def spelled(self) -> set[Fraction]:
        """Numbers that are written out, or in Chinese or Roman numerals."""
        found = {*words.spelled(self._text, self._language), *roman.values(self._text)}
        han = hanzi.values(self._text, self._language) if self._language in _HAN else ()
        return {*map(Fraction, found), *han}

    def may_be_unread(self, value: Fraction) -> bool:
        """Return whether a number may be there in words that are not read."""
        if value.denominator > 1:
            return value.denominator in _DENOMINATORS_WITH_WORDS
        return not words.can_read(self._language)


def keeps_numbers(text: str, language: str, translation: str, target: str) -> bool | None:
    """Return whether a translation has the numbers of a text, in any order and notation.

    Each number in digits of either text has an equal one in the other: in digits (1.000 is 1,000,
    1万 is 10,000), written out, or in Chinese or Roman numerals. Numbers that are written out in
    both texts are not compared: their words have other meanings as well.

    `language` and `target` are the ISO 639-1 codes of the text and its translation.

    Returns:
        None where there is nothing to keep, a text is too long, or what is missing may be there in
        words that cannot be read.
    """
    if max(len(text), len(translation)) > _MAX_CHARS:
        return None
    first, second = _Numbers(text, language), _Numbers(translation, target)
    if not first.digits:
        return None
    lost, added = first.digits - second.digits, second.digits - first.digits
    _match_other_readings(lost, added, first.other_readings)
    _match_other_readings(added, lost, second.other_readings)
    missing = [
        (value, there)
        for rest, here, there in ((lost, first, second), (added, second, first))
        for value in +rest
        if value not in here.months and value not in there.spelled
    ]
    if not missing:
        return True
    return None if all(there.may_be_unread(value) for value, there in missing) else False


def _match_other_readings(
    rest: Counter[Fraction], candidates: Counter[Fraction], readings: dict[Fraction, Fraction]
) -> None:
    """Reduce the counts of numbers that are equal if a separator is read the other way."""
    for value in list(rest):
        if (other := readings.get(value)) is not None:
            both = min(rest[value], candidates[other])
            rest[value] -= both
            candidates[other] -= both
