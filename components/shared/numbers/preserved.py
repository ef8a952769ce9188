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
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
_CLOCK = r"(2[0-4]|[01]?\d)(?!\d)(?:(?::|\s?h\s?)([0-5]\d)(?![\d:]))?+"
_HALF = r"(\s?[ap]\.?\s?m\b)"
_TIME = re.compile(
    rf"(?<![\d:]){_CLOCK}"
    rf"(?:{_HALF}|(?=(?:\s?[-–]\s?|\s(?:to|bis|a|à|and)\s){_CLOCK}{_HALF})|)",
    re.IGNORECASE,
)
"""The hour of 4:30 pm, its minutes (French: 4 h 30), and which half of the day it is in.

Of the start of a range such as 2-3 pm, the same three of its end.
"""

_DENOMINATORS_WITH_WORDS = (2, 3, 4)
"""Halves, thirds and quarters have words that are not read."""

_MAX_CHARS = 50_000
"""A longer text is a model's loop, whose numbers show nothing."""


class _Numbers:
    """The numbers of one text.

    Attributes:
        digits: those in digits, counted.
        other_readings: of numbers in digits, the value if a separator is read the other way.
        date_parts: those of dates that another language may write as names, or leave out.
        ordinals: those written as 5th, which another language may write as V.
        hours: the hours of times, each with what another clock may show: 16 for 4 pm.
        full_hours: whether a time had minutes 00, which another language may write as a number.
    """

    def __init__(self, text: str, language: str) -> None:
        self._language = language
        self._text, self.hours, self.full_hours = _times(normalized(text), language)
        numbers = digits.numbers(self._text, language, ranges=False)
        found = [(each.value, each) for each in numbers if each.value is not None]
        dated = {at for each in _DATE.finditer(self._text) for at in range(*each.span())}
        self.date_parts = {
            value
            for value, each in found
            if value <= _MONTHS and (each.start in dated or _MONTH.match(self._text, each.end))
        }
        self.ordinals = {value for value, each in found if _ORDINAL.match(self._text, each.end)}
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

    @cached_property
    def lone(self) -> set[int]:
        """The values of V and X where they stand alone."""
        return {*roman.lone_values(self._text)}

    def may_be_written_out(self, value: Fraction, there: _Numbers) -> bool:
        """Return whether a number of this text may be there in another text without its digits."""
        if value in self.date_parts or value in there.spelled:
            return True
        if value == 0 and there.full_hours:
            return True
        return value in self.ordinals and value in there.lone

    def may_be_unread(self, value: Fraction) -> bool:
        """Return whether a number may be there in words that are not read."""
        if value.denominator > 1:
            return value.denominator in _DENOMINATORS_WITH_WORDS
        return not words.can_read(self._language)


def keeps_numbers(text: str, language: str, translation: str, target: str) -> bool | None:
    """Return whether a translation has the numbers of a text, in any order and notation.

    Each number in digits of either text has an equal one in the other: in digits (1.000 is 1,000,
    1万 is 10,000), written out, or in Chinese or Roman numerals. 4:00 pm is 16. Numbers that are
    written out in both texts are not compared: their words have other meanings as well.

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
    _match_other_clocks(lost, added, first.hours, second.hours)
    missing = [
        (value, there)
        for rest, here, there in ((lost, first, second), (added, second, first))
        for value in +rest
        if not here.may_be_written_out(value, there)
    ]
    if not missing:
        return True
    return None if all(there.may_be_unread(value) for value, there in missing) else False


def _times(text: str, language: str) -> tuple[str, dict[Fraction, set[Fraction]], bool]:
    """Return a text with times such as 4:00 as 4:, and its hours as another clock shows them.

    And whether there were such times on the hour.
    """
    hours: dict[Fraction, set[Fraction]] = {}
    full = False

    def shortened(found: re.Match[str]) -> str:
        nonlocal full
        hour, minutes, half, end, end_minutes, end_half = found.groups()
        own = late = _is_late(hour, half, language)
        if end and int(hour) <= 12 and (late := _is_late(end, end_half, language)) is not None:
            late ^= _on_dial(hour, minutes) > _on_dial(end, end_minutes)  # 9-5 pm
        if minutes or late is not None:
            shown = {int(hour) % 24, (int(hour) + 12) % 24}
            if late is not None:
                shown = {int(hour) % 12 + 12 * late}
            if 0 in shown:
                shown.add(24)
            hours.setdefault(Fraction(hour), set()).update(map(Fraction, shown))
        if not minutes and own is None:
            return found[0]
        full = full or minutes == "00"
        return f"{hour}:{(minutes or '').replace('00', '')}{half or ''}"

    return _TIME.sub(shortened, text), hours, full


def _is_late(hour: str, half: str | None, language: str) -> bool | None:
    """Return whether an hour is pm; None if no half of the day counts, as in "15 am Markt"."""
    if not half or int(hour) > 12 or (language == "de" and half.strip() == "am"):
        return None
    return "p" in half.lower()


def _on_dial(hour: str, minutes: str | None) -> tuple[int, int]:
    return int(hour) % 12, int(minutes or 0)


def _match_other_readings(
    rest: Counter[Fraction], candidates: Counter[Fraction], readings: dict[Fraction, Fraction]
) -> None:
    """Reduce the counts of numbers that are equal if a separator is read the other way."""
    for value in list(rest):
        if (other := readings.get(value)) is not None:
            both = min(rest[value], candidates[other])
            rest[value] -= both
            candidates[other] -= both


def _match_other_clocks(
    lost: Counter[Fraction],
    added: Counter[Fraction],
    first: dict[Fraction, set[Fraction]],
    second: dict[Fraction, set[Fraction]],
) -> None:
    """Reduce the counts of hours that are equal on another clock.

    4 pm is 16, 24:00 is 0:00, 4 am is not 16.
    """
    for hour in +lost:
        for other in (hour - 24, hour - 12, hour + 12, hour + 24):
            if hour not in first and other not in second:
                continue
            if other in first.get(hour, {other}) and hour in second.get(other, {hour}):
                both = min(lost[hour], added[other])
                lost[hour] -= both
                added[other] -= both
