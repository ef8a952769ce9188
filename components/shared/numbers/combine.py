"""Combines the words of written-out numbers: what is added, multiplied, or a number of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Part = tuple[str, int] | None
"""A value ("value"), a multiplier ("scale" or "before"), a "joiner", a "comma"; None ends it."""


def combined(parts: Iterable[Part]) -> Iterator[int]:
    """Add and multiply the parts: two thousand, three hundred and five."""
    number = _Number()
    for part in parts:
        if part is None:
            yield from number.end()
            continue
        kind, value = part
        if kind == "scale":
            yield from number.split(value)
        if not number.takes(kind, value):
            yield from number.end()
            number.takes(kind, value)
    yield from number.end()


@dataclass(slots=True)
class _Multiplied:
    """A value that was multiplied, its scale, and the comma or joiner after it ("," or "&")."""

    value: int
    scale: int
    then: str = ""


class _Number:
    """A number that is being read.

    `_closed` holds the values that were multiplied. A scale that is not smaller than the last one
    also multiplies those closed values whose scale is not larger than it (mil millones, million
    million), unless they are a number of their own. Values below `_room` are added to `_current`.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._closed: list[_Multiplied] = []
        self._current: int | None = None
        self._room = 0
        self._factor = 0
        self._last_scale = 0
        self._open = False

    def end(self) -> Iterator[int]:
        """Yield the value, if there is one, and start over.

        A comma stands before hundreds and larger parts; "two thousand, three" are two numbers.
        """
        if self._closed and self._closed[-1].then == "," and 0 < (self._current or 0) < 100:
            yield self._taken_off(len(self._closed))
        if self._open:
            yield self._sum() + (self._current or 0) + self._factor
        self._clear()

    def _sum(self) -> int:
        return sum(each.value for each in self._closed)

    def split(self, scale: int) -> Iterator[int]:
        """Yield the number that is complete before the one that a scale belongs to, if any."""
        if scale == 100:
            rest = (self._current or 0) % 100
            if rest and self._current != rest:  # two hundred and three | hundred
                yield self._sum() + (self._current or 0) - rest
                self._clear()
                self._open = self._value(rest)
        elif own := self._complete_before(scale):
            yield self._taken_off(own)

    def _complete_before(self, scale: int) -> int:
        """Return how many of the closed values a scale cannot belong to: two thousand | three ...

        After a comma a number goes on with less; the same scale comes twice only where it
        multiplies (million million; Thai: 1.2 million million).
        """
        for at in range(len(self._closed), 0, -1):
            each, last = self._closed[at - 1], at == len(self._closed)
            bare = last and self._current is None
            if each.scale > scale:
                return at if bare and "," in each.then else 0
            if "," in each.then or (bare and each.then):
                return at
            thousands = each.then == "&" and each.value >= 1000 * scale  # Persian 1000 bn and 50 bn
            repeated = each.then or (last and not bare) or each.value >= scale**2
            if each.scale == scale and repeated and not thousands:
                return at
        return 0

    def _taken_off(self, count: int) -> int:
        """Return the sum of the first closed values, which are a number of their own."""
        rest = self._closed[count:]
        del self._closed[count:]
        value, self._closed = self._sum(), rest
        self._last_scale = rest[-1].scale if rest else 0
        return value

    def takes(self, kind: str, value: int) -> bool:
        """Add a part; False where it belongs to the next number."""
        if kind in ("comma", "joiner"):
            return self._separated(kind)
        if kind == "value" and value >= 1000:
            taken = self._thousands(value)
        else:
            adders = {"value": self._value, "scale": self._scale, "before": self._before}
            taken = adders[kind](value)
        self._open = self._open or taken
        return taken

    def _separated(self, kind: str) -> bool:
        closes = bool(self._closed) and self._current is None and not self._factor
        if closes:
            self._closed[-1].then += "," if kind == "comma" else "&"
        return kind == "joiner" or (closes and self._last_scale >= 1000)

    def _value(self, value: int) -> bool:
        if self._factor:  # "&": Swahili has a comma before any rest
            self._closed.append(_Multiplied(self._factor * value, self._factor, "&"))
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
        self._closed.append(_Multiplied(value, scale))
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
        value = self._current
        added = value is not None and scale == self._last_scale
        while self._closed and self._closed[-1].scale <= scale and not added:
            value = (value or 0) + self._closed.pop().value
        self._closed.append(_Multiplied((1 if value is None else value) * scale, scale))
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
