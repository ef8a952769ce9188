"""Parses numbers that are written out: eighteen, dos mil, fünfundzwanzig, สามสิบ.

The words are CLDR's (`lexicon`), with some that it lacks (`missing_words`), for 49 of our
languages. Chinese numerals are read elsewhere (`hanzi`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from lidr.components.shared.numbers.lexicon import HAN, Lexicon, lexicon_of, words_of

_PARTLY = frozenset(("cy", "ga", "ka", "ta", "tl", "zu"))
"""Languages that change or join the parts of larger numbers in ways that are not parsed here."""
_PREFIXES = frozenset(("و", "ו"))
"""Arabic and Hebrew join "and" to the word that follows."""
_COUNTING = frozenset("두세네열")
"""Korean numbers of one syllable that are no other word where they stand alone."""
_ALONE = re.compile("[백천만](?=원|$)")
"""A Korean hundred, thousand or ten thousand alone: 백 is a bag as well, 백성 are people."""
_MYRIAD = 10**4
_MAX_COMPOUND_CHARS = 80
_MAX_CHARS = 200
"""Characters that are read for one written-out number."""


def can_read(language: str) -> bool:
    """Return whether numbers that are written out in a language can be parsed."""
    readable = language not in _PARTLY and lexicon_of(language) is not None
    return language in HAN or readable


def scale_words(language: str) -> dict[str, int]:
    """Return the words that multiply the number before them: thousand, million, lakh."""
    lexicon = lexicon_of(language)
    return {} if lexicon is None else {" ".join(ws): s for ws, s in lexicon.scales.items()}


def spelled(text: str, language: str) -> Iterator[int]:
    """Yield the values of the numbers that are written out, in order.

    Words with a second meaning are included (French neuf, the article un). Nothing is found where
    `can_read` says no; for Chinese numerals see `hanzi`.
    """
    lexicon = lexicon_of(language) if can_read(language) else None
    if lexicon is not None:
        yield from _combined(_parts(words_of(text), lexicon, language))


def leading_number(text: str, language: str) -> int | None:
    """Return the value of the written-out number that a text begins with, or None.

    As in `spelled`, there is none where `can_read` says no.
    """
    lexicon = lexicon_of(language) if can_read(language) else None
    if lexicon is None:
        return None
    parts = _parts(words_of(text[:_MAX_CHARS]), lexicon, language)
    return next(_combined(parts), None) if parts and parts[0] else None


def _parts(words: Sequence[str], lexicon: Lexicon, language: str) -> list[Part]:
    if language == "ko":
        return list(_korean(words, lexicon))
    if language == "th":
        return list(_thai(words, lexicon))
    return list(_spaced(list(words), lexicon))


Part = tuple[str, int] | None
"""A value ("value"), a multiplier ("scale" or "before"), or None where a number ends."""


def _spaced(words: list[str], lexicon: Lexicon) -> Iterator[Part]:
    at = 0
    while at < len(words):
        part, taken = _phrase(words, at, lexicon)
        if part:
            yield part
            at += taken
            continue
        word = words[at]
        if word[:1] in _PREFIXES & lexicon.joiners and word[1:] in lexicon.starts:
            words[at] = word[1:]
            continue
        at += 1
        if word in lexicon.joiners or word == ",":
            yield ("joiner", 0) if word != "," else ("comma", 0)
        elif parts := _compound(word, lexicon):
            yield from parts
        else:
            yield None


def _phrase(words: Sequence[str], at: int, lexicon: Lexicon) -> tuple[Part, int]:
    if words[at] in lexicon.starts:
        for size in range(min(lexicon.longest, len(words) - at), 0, -1):
            phrase = tuple(words[at : at + size])
            for kind, known in (
                ("value", lexicon.values),
                ("scale", lexicon.scales),
                ("before", lexicon.before),
            ):
                if phrase in known:
                    return (kind, known[phrase]), size
    return None, 0


def _compound(word: str, lexicon: Lexicon) -> list[Part]:
    """Return the parts of a word such as fünfhunderttausend; none if it is not a number."""
    ends: dict[int, list[str]] = {0: []}
    for at in range(len(word) if len(word) <= _MAX_COMPOUND_CHARS else 0):
        if at in ends:
            for piece in lexicon.pieces.get(word[at], ()):
                if word.startswith(piece, at):
                    ends.setdefault(at + len(piece), [*ends[at], piece])
    pieces = ends.get(len(word), [])
    return [part for piece in pieces if (part := _phrase([piece], 0, lexicon)[0])]


def _thai(words: Sequence[str], lexicon: Lexicon) -> Iterator[Part]:
    """Parse numbers in text without spaces between words."""
    for word in words:
        at = 0
        while at < len(word):
            parts, end = _run(word, at, lexicon)
            yield from parts
            if end == at or end < len(word):
                yield None
            at = max(end, at + 1)


def _korean(words: Sequence[str], lexicon: Lexicon) -> Iterator[Part]:
    """Parse numbers whose words may be joined or not, and that begin a word: 만 오천이백."""
    before: Part = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        parts, end = _run(word, 0, lexicon)
        if end < 2 and word not in _COUNTING:  # 이 is "this" as well as 2
            goes_on = _goes_on(before, word, lexicon)
            if not goes_on and not _begins_number(word, following, lexicon):
                yield None
                before = None
                continue
        if _is_another(before, parts):
            yield None
        yield from parts
        before = parts[-1]
        if end < len(word):
            yield None
            before = None


def _is_another(before: Part, parts: Sequence[Part]) -> bool:
    """Return whether parts are a number of their own: 천만 after 이만."""
    if before is None or before[0] != "scale" or before[1] < _MYRIAD:
        return False
    return any(part and part[0] == "scale" and part[1] >= before[1] for part in parts)


def _goes_on(before: Part, word: str, lexicon: Lexicon) -> bool:
    """Return whether a word is the lone scale that a larger one leads to: 천 of 이만 천 원."""
    scale = lexicon.scales[(word[0],)] if _ALONE.match(word) else 0
    return before is not None and before[0] == "scale" and before[1] > scale > 0


def _begins_number(word: str, following: str, lexicon: Lexicon) -> bool:
    """Return whether a word is a lone scale to which the next one adds: 만 of 만 오천 원.

    Before a time of less than 100, 만 means that it is complete: 만 이십 개월.
    """
    if not (len(word) == 1 and _ALONE.match(word)):
        return False
    scale = lexicon.scales[(word,)]
    parts, end = _run(following, 0, lexicon)
    if end < 2:
        return _goes_on(("scale", scale), following, lexicon)
    if scale < _MYRIAD:  # 백 이십만 has a scale of its own
        parts = list(takewhile(lambda part: part and part[1] < _MYRIAD, parts))
    value = next(_combined(parts), 0)
    return (100 if scale == _MYRIAD else 1) <= value < scale


def _run(word: str, at: int, lexicon: Lexicon) -> tuple[list[Part], int]:
    """Return the parts of the number at a place in a word, and where it ends."""
    parts: list[Part] = []
    while found := lexicon.run.match(word, at):
        parts.append(_phrase([found[0]], 0, lexicon)[0])
        at = found.end()
    return parts, at


def _combined(parts: Iterable[Part]) -> Iterator[int]:
    """Add and multiply the parts: two thousand, three hundred and five."""
    number = _Number()
    for part in parts:
        if part is None:
            yield from number.end()
            continue
        kind, value = part
        if not number.takes(kind, value):
            yield from number.end()
            number.takes(kind, value)
    yield from number.end()


class _Number:
    """A number that is being read.

    `_closed` holds the values that were multiplied, each with its scale. A scale larger than the
    last one also multiplies those closed values whose scale is not larger than it (mil millones).
    Values below `_room` are added to `_current`.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._closed: list[tuple[int, int]] = []
        self._current: int | None = None
        self._room = 0
        self._factor = 0
        self._last_scale = 0
        self._after_comma = False
        self._open = False

    def end(self) -> Iterator[int]:
        """Yield the value, if there is one, and start over."""
        if self._open:
            yield sum(value for value, _ in self._closed) + (self._current or 0) + self._factor
        self._clear()

    def takes(self, kind: str, value: int) -> bool:
        """Add a part; False where it belongs to the next number."""
        if kind == "joiner":
            return True
        if kind == "comma":
            self._after_comma = self._last_scale >= 1000 and self._current is None
            return self._after_comma
        if kind == "value" and value >= 1000:
            taken = self._thousands(value)
        else:
            adders = {"value": self._value, "scale": self._scale, "before": self._before}
            taken = adders[kind](value)
        self._open, self._after_comma = self._open or taken, False
        return taken

    def _value(self, value: int) -> bool:
        if self._factor:
            self._closed.append((self._factor * value, self._factor))
            self._factor = 0
        elif self._current is None and (not self._last_scale or value < self._last_scale):
            self._set(value)
        elif self._current is not None and value < self._room:
            self._set(self._current + value)
        else:
            return False
        return True

    def _set(self, value: int) -> None:
        self._current, self._room = value, _room(value)

    def _thousands(self, value: int) -> bool:
        """Add a word for two thousand or two million: what follows is less, as after a scale."""
        scale = next(each for each in (10**12, 10**9, 10**6, 10**3) if value >= each)
        if self._current is not None or (self._last_scale and scale >= self._last_scale):
            return False
        self._closed.append((value, scale))
        self._last_scale = scale
        return True

    def _scale(self, scale: int) -> bool:
        if scale == 100 and self._current == 0 and self._last_scale:  # Vietnamese không trăm
            self._room = 100
            return True
        if scale == 100:
            if self._current is not None and not 0 < self._current < 100:
                return False
            self._set((self._current or 1) * 100)
            return True
        if self._current is None and (scale == self._last_scale or self._after_comma):
            return False
        value = self._current
        grows = scale > self._last_scale  # mil millones; Thai: 1.2 million million
        while grows and self._closed and self._closed[-1][1] <= scale:
            value = (value or 0) + self._closed.pop()[0]
        self._closed.append(((1 if value is None else value) * scale, scale))
        self._current, self._last_scale = None, scale
        return True

    def _before(self, scale: int) -> bool:
        if self._factor or self._current is not None:
            return False
        if self._last_scale and scale >= self._last_scale:
            return False
        self._factor = self._last_scale = scale
        return True


def _room(value: int) -> int:
    """Return the bound below which a value is added: ten for twenty, 100 for three hundred."""
    return next((unit for unit in (1000, 100, 10) if value % unit == 0 and value > 10), 0)
