"""Charts with time on the horizontal axis: iterations, or optimizer steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lidr.components.report import svg
from lidr.components.report.svg import Heading, Scale
from lidr.components.report.words import number, plain

Interval = Mapping[str, Any]

WIDTH = 380.0
"""Width in pixels of a chart that fits a phone as well."""

_LABEL_GAP = 16
"""Minimum distance between two labels, in pixels."""

_MAX_DODGE = 11.0
"""Maximum sideways shift between whiskers that would overlap, in pixels."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line over iterations.

    Attributes:
        label: its name.
        kind: CSS class of its colour.
        shape: number of its marks' shape in `svg.marker`.
        values: one interval per iteration, None where it was not measured.
        written: the last value as text, shown beside the label.
    """

    label: str
    kind: str
    shape: int
    values: Sequence[Interval | None]
    written: str


@dataclass(frozen=True, slots=True)
class Curve:
    """One training metric as (step, value) points; one part per iteration that has any."""

    label: str
    kind: str
    parts: Sequence[Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Frame:
    """A chart's axes: each maps values to pixels of the plotting area."""

    x: Scale
    y: Scale

    def grid(self, numbers: Sequence[float], labels: Sequence[str]) -> list[Markup]:
        """Return horizontal grid lines, labelled on the left."""
        return [
            part
            for number, label in zip(numbers, labels, strict=True)
            for part in (
                svg.line(self.x.start, self.y(number), self.x.end, self.y(number), "grid"),
                svg.text(self.x.start - 8, self.y(number), label, "axis", "end"),
            )
        ]

    def below(self, positions: Sequence[float], labels: Sequence[str]) -> list[Markup]:
        """Return the bottom line, labelled below."""
        base = self.y.start
        return [
            svg.line(self.x.start, base, self.x.end, base, "grid"),
            *(
                svg.text(x, base + 19, label, "axis", "middle")
                for x, label in zip(positions, labels, strict=True)
            ),
        ]


def over_iterations(
    heading: Heading,
    columns: Sequence[str],
    series: Sequence[Series],
    size: tuple[float, float],
    domain: tuple[float, float],
) -> Markup:
    """Draw shares by iteration, one line per series, with whiskers and labels on the right.

    Args:
        columns: names of the iterations, two or more.
        series: the lines; later ones are drawn on top.
        size: width and height in pixels.
        domain: smallest and largest share of the axis.
    """
    width, height = size
    room = 12 + 6.9 * max(len(f"{item.label} {item.written}") for item in series)
    dodge = min(_MAX_DODGE, width / 20 / len(series))
    inset = 8 + dodge * len(series) / 2
    frame = Frame(Scale(*domain, 44, width - room), Scale(*domain, height - 34, 14))
    across = Scale(0, len(columns) - 1, frame.x.start + inset, frame.x.end - inset - 12)
    marks = svg.ticks(*domain)
    return svg.figure(
        heading,
        size,
        *frame.grid(marks, [f"{mark * 100:g}%" for mark in marks]),
        *frame.below([across(index) for index in range(len(columns))], columns),
        *(
            _line_of(item, frame, across, dodge * (index - (len(series) - 1) / 2))
            for index, item in enumerate(series)
        ),
        *_end_labels(series, frame, across.end + dodge * len(series) / 2 + 4),
    )


def over_steps(
    heading: Heading,
    curves: Sequence[Curve],
    divisions: Mapping[float, str],
    last: float,
    domain: tuple[float, float] | None = None,
) -> Markup:
    """Draw training metrics over optimizer steps, with a line where an iteration begins.

    Args:
        curves: the metrics, each labelled at its right end.
        divisions: name of each iteration by its first step.
        last: the last step.
        domain: range of the values; None fits it to them.
    """
    width, height = WIDTH, 210.0
    values = [value for curve in curves for part in curve.parts for _, value in part]
    low, high = domain or svg.rounded_domain(min(values), max(values), 4)
    room = 12 + 7.2 * max(len(curve.label) for curve in curves)
    frame = Frame(Scale(0, last, 52, width - room), Scale(low, high, height - 30, 26))
    marks = svg.ticks(low, high, 4)
    steps = svg.ticks(0, last, 4, whole=True)
    return svg.figure(
        heading,
        (width, height),
        *frame.grid(marks, [plain(mark) for mark in marks]),
        *_divisions(frame, divisions),
        *frame.below([frame.x(mark) for mark in steps], [number(mark) for mark in steps]),
        *(
            svg.polyline([(frame.x(x), frame.y(y)) for x, y in part], f"curve {curve.kind}")
            for curve in curves
            for part in curve.parts
        ),
        *_curve_labels(curves, frame),
    )


def _line_of(item: Series, frame: Frame, across: Scale, dodge: float) -> Markup:
    at = [
        (across(index) + dodge, value)
        for index, value in enumerate(item.values)
        if value is not None
    ]
    return svg.tag(
        "g",
        svg.polyline([(x, frame.y(value["value"])) for x, value in at], "line"),
        *(
            svg.line(x, frame.y(value["low"]), x, frame.y(value["high"]), "whisker")
            for x, value in at
        ),
        *(svg.marker(x, frame.y(value["value"]), item.shape, "mark") for x, value in at),
        class_=item.kind,
    )


def _end_labels(series: Sequence[Series], frame: Frame, start: float) -> list[Markup]:
    shown = [item for item in series if item.values and item.values[-1] is not None]
    ends = [frame.y(item.values[-1]["value"]) for item in shown if item.values[-1] is not None]
    placed = svg.spread_labels(ends, _LABEL_GAP, frame.y.end + 2, frame.y.start - 4)
    return [
        svg.tag(
            "g",
            svg.line(start, end, frame.x.end - 2, y, "leader"),
            svg.tag(
                "text",
                svg.tag("tspan", item.label, class_="label"),
                svg.tag("tspan", f" {item.written}", class_="value"),
                x=frame.x.end + 4,
                y=y,
                dy="0.35em",
            ),
            class_=item.kind,
        )
        for item, end, y in zip(shown, ends, placed, strict=True)
    ]


def _curve_labels(curves: Sequence[Curve], frame: Frame) -> list[Markup]:
    ends = [frame.y(curve.parts[-1][-1][1]) for curve in curves]
    placed = svg.spread_labels(ends, _LABEL_GAP, frame.y.end, frame.y.start)
    return [
        svg.text(frame.x.end + 8, y, curve.label, f"label {curve.kind}")
        for curve, y in zip(curves, placed, strict=True)
    ]


def _divisions(frame: Frame, divisions: Mapping[float, str]) -> list[Markup]:
    """Return vertical lines; a name that would overlap the one before it is left out."""
    drawn: list[Markup] = []
    free = 0.0
    for at, name in divisions.items():
        x = frame.x(at)
        drawn.append(svg.line(x, frame.y.end - 8, x, frame.y.start, "division"))
        if x >= free:
            drawn.append(svg.text(x + 5, frame.y.end - 12, name, "axis"))
            free = x + 10 + 7.2 * len(name)
    return drawn
