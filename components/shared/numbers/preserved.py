"""Whether a translation keeps the numbers of its text, in whatever way each writes them."""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

from lidr.components.shared.numbers import digits, hanzi, roman, words
from lidr.components.shared.numbers.plain import plain

_HAN = frozenset(("ja", "ko", "zh"))
_MONTH = re.compile(r" ?[月월]")
_DATE = re.compile(r"(?<!\d)\d{1,4}([/.-])\d{1,2}\1\d{1,4}(?!\d)")
_MONTHS = 12
_PARTS_WITH_NAMES = (2, 3, 4)
"""Halves, thirds and quarters have words that are not read."""


_MAX_CHARS = 50_000
"""A longer text is a model's loop: what of its numbers arrives shows nothing."""


class _Written:
    """The numbers of one text.

    Attributes:
        digits: those in digits.
        others: what a number in digits may be if a separator means the other thing.
    """

    def __init__(self, text: str, language: str) -> None:
        self._text, self._language = plain(text), language
        found = list(digits.numbers(self._text, language, ranges=False))
        known = [number for number in found if number.value is not None]
        dated = {at for each in _DATE.finditer(self._text) for at in range(*each.span())}
        self.months = {
            number.value
            for number in known
            if number.value is not None and number.value <= _MONTHS
            if number.start in dated or _MONTH.match(self._text, number.end)
        }
        """What may be a month, which another language calls by its name."""
        self.digits = Counter(number.value for number in known if number.value is not None)
        self.others = {
            number.value: number.other
            for number in known
            if number.value is not None and number.other is not None
        }

    def holds_in_words(self, value: Fraction) -> bool:
        """Tell whether a number is written out, in Chinese or in Roman numerals."""
        return value in self._words

    def could_hide(self, value: Fraction) -> bool:
        """Tell whether a number may be there in words that are not read."""
        if value.denominator > 1:
            return value.denominator in _PARTS_WITH_NAMES
        return not words.can_read(self._language)

    @property
    def _words(self) -> set[Fraction]:
        if self._cached is None:
            found = {Fraction(value) for value in words.spelled(self._text, self._language)}
            found |= {Fraction(value) for value in roman.values(self._text)}
            if self._language in _HAN:
                found |= set(hanzi.every(self._text))
            self._cached = found
        return self._cached

    _cached: set[Fraction] | None = None


def keeps_numbers(text: str, language: str, translation: str, target: str) -> bool | None:
    """Tell whether a translation has the numbers of a text, in any order and writing.

    Each number in digits of either text has an equal one in the other: in digits (1.000 is 1,000,
    1万 is 10,000), written out, or in Chinese or Roman numerals. Numbers that are written out in
    both texts are not compared: their words have other meanings as well.

    Args:
        text: the source; its numbers in digits are what is to be kept.
        language: ISO 639-1 code of the source.
        translation: the text to check.
        target: ISO 639-1 code of the translation.

    Returns:
        None where there is nothing to keep (or a text has no end), or where what is missing may be
        there in words that cannot be read.
    """
    if max(len(text), len(translation)) > _MAX_CHARS:
        return None
    first, second = _Written(text, language), _Written(translation, target)
    if not first.digits:
        return None
    lost, added = first.digits - second.digits, second.digits - first.digits
    _match_other_readings(lost, added, first.others)
    _match_other_readings(added, lost, second.others)
    missing = [
        (value, there)
        for rest, here, there in ((lost, first, second), (added, second, first))
        for value in rest
        if value not in here.months and not there.holds_in_words(value)
    ]
    if not missing:
        return True
    return None if all(there.could_hide(value) for value, there in missing) else False


def _match_other_readings(
    rest: Counter[Fraction], candidates: Counter[Fraction], others: dict[Fraction, Fraction]
) -> None:
    """Take away what is equal if a separator of one side means the other thing."""
    for value in list(rest):
        other = others.get(value)
        both = min(rest[value], candidates[other]) if other is not None else 0
        if both and other is not None:
            rest[value] -= both
            candidates[other] -= both
    for counter in (rest, candidates):
        for value in [value for value, count in counter.items() if count <= 0]:
            del counter[value]
