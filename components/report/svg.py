"""Inline SVG: every text is escaped, no script, colours from classes in style.css."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from markupsafe import Markup, escape

Attribute = str | float


def tag(name: str, *children: str, **attributes: Attribute) -> Markup:
    """Return one element; children that are not Markup are escaped, as are all attributes.

    Args:
        name: of the element.
        children: its content.
        attributes: `_` in a name becomes `-`, a final `_` is dropped (`class_`). Those with
            the value "" are left out.
    """
    named = (
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _written(value))
        for key, value in attributes.items()
        if value != ""
    )
    inside = Markup("").join(escape(child) for child in children)
    return Markup("<{0}{1}>{2}</{0}>").format(name, Markup("").join(named), inside)


class Heading(NamedTuple):
    """A chart's name and description.

    Attributes:
        id_: HTML id, unique on the page.
        title: what the chart shows.
        description: its content in words and numbers, for screen readers.
    """

    id_: str
    title: str
    description: str


def figure(heading: Heading, size: tuple[float, float], *children: str) -> Markup:
    """Return an SVG image of these elements.

    Args:
        heading: its name and description.
        size: width and height in CSS pixels; the page may scale it down.
        children: its elements.
    """
    width, height = size
    id_ = heading.id_
    return tag(
        "svg",
        tag("title", heading.title, id=f"{id_}-title"),
        tag("desc", heading.description, id=f"{id_}-desc"),
        *children,
        role="img",
        aria_labelledby=f"{id_}-title {id_}-desc",
        viewBox=f"0 0 {_written(width)} {_written(height)}",
        width=width,
        height=height,
    )


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> Markup:
    """Return a label, vertically centred at y."""
    return tag("text", content, x=x, y=y, dy="0.35em", class_=kind, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """Return a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def polyline(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """Return an open line through points."""
    return tag(
        "polyline",
        points=" ".join(f"{_written(x)},{_written(y)}" for x, y in points),
        class_=kind,
    )


def marker(x: float, y: float, shape: int, kind: str, size: float = 4.5) -> Markup:
    """Return a point's mark; shapes 0 to 3 are circle, square, triangle and diamond."""
    if shape % 4 == 0:
        return tag("circle", cx=x, cy=y, r=size, class_=kind)
    corners = {
        1: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        2: ((0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)),
        3: ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    }[shape % 4]
    points = " ".join(f"{_written(x + dx * size)},{_written(y + dy * size)}" for dx, dy in corners)
    return tag("polygon", points=points, class_=kind)


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of a value, clamped to the domain."""
        share = (min(max(value, self.low), self.high) - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """Return about `count` round numbers from low to high; only integers if `whole`."""
    step = _round_step((high - low) / max(count, 1), whole=whole)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def rounded_domain(low: float, high: float, count: int = 8) -> tuple[float, float]:
    """Return the domain widened to round numbers, never empty."""
    if high - low < 1e-12:
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    step = _round_step((high - low) / count)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def spread_labels(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return label positions near the given ones, within low to high.

    They are at least `gap` pixels apart, or closer if there is no room for all.
    """
    gap = min(gap, (high - low) / max(len(positions) - 1, 1))
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    placed = [0.0] * len(positions)
    previous = low - gap
    for index in order:
        previous = placed[index] = max(positions[index], previous + gap)
    following = high + gap
    for index in reversed(order):
        following = placed[index] = min(placed[index], following - gap)
    return placed


def _round_step(rough: float, *, whole: bool = False) -> float:
    if rough <= 0 or (whole and rough <= 1):
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    steps = (power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return next(step for step in steps if not whole or step.is_integer())


def _written(value: Attribute) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.2f}".rstrip("0").rstrip(".")
