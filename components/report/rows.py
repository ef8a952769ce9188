"""Charts with one row per item: dots with whiskers, dumbbells and bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lidr.components.report import svg
from lidr.components.report.blocks import colour_class, marker_shape
from lidr.components.report.charts import WIDTH, Interval
from lidr.components.report.svg import Heading, Scale
from lidr.components.report.words import language, number, plain, signed
from lidr.components.shared.config.recipe import Languages


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One interval of a dot plot.

    Attributes:
        label: shown on the left.
        kind: CSS class of its colour.
        shape: number of its mark's shape in `svg.marker`.
        value: the interval, as fractions.
        written: the value as text, shown on the right.
        bar: a threshold, as a fraction, drawn in this row only.
    """

    label: str
    kind: str
    shape: int
    value: Interval
    written: str
    bar: float | None = None


def language_row(
    languages: Languages, code: str, value: Interval, written: str, bar: float | None = None
) -> ReportRow:
    """Return the row of a language, in its colour and shape."""
    kind, shape = colour_class(languages, code), marker_shape(languages, code)
    return ReportRow(language(code), kind, shape, value, written, bar)


def gain_rows(
    languages: Languages, mean: Interval, rows: Mapping[str, Mapping[str, Any]]
) -> list[ReportRow]:
    """Return the rows of a mean gain and of each language's.

    Args:
        languages: the recipe's.
        mean: interval of the mean gain.
        rows: by language its `gain` and, if there is one, the `tolerance` of a fall, drawn as the
            bar.
    """
    return [
        ReportRow("Mean", "mean", 3, mean, signed(mean["value"])),
        *(
            language_row(
                languages,
                code,
                row["gain"],
                signed(row["gain"]["value"]),
                -row["tolerance"] if "tolerance" in row else None,
            )
            for code, row in rows.items()
        ),
    ]


def extent(intervals: Iterable[Interval]) -> tuple[float, float]:
    """Return the lowest and the highest limit of intervals."""
    lows, highs = zip(*((each["low"], each["high"]) for each in intervals), strict=True)
    return min(lows), max(highs)


def in_words(rows: Sequence[ReportRow]) -> str:
    """Return the rows' values as a chart's description."""
    return "; ".join(f"{row.label} {row.written}" for row in rows)


def dots(
    heading: Heading,
    rows: Sequence[ReportRow],
    domain: tuple[float, float],
    references: Mapping[float, str] | None = None,
    width: float = WIDTH,
) -> Markup:
    """Draw intervals as dots with whiskers, one per row, with the label on the left.

    Args:
        rows: from top to bottom.
        domain: smallest and largest share of the axis.
        references: CSS class of each vertical line, by its value on the axis.
        width: in pixels.
    """
    height = 34.0 * len(rows) + 30
    names = min(24 + 7.2 * max(len(row.label) for row in rows), width * 0.42)
    numbers = 14 + 7.2 * max(len(row.written) for row in rows)
    x = Scale(*domain, names, width - numbers)
    bottom = height - 28
    return svg.figure(
        heading,
        (width, height),
        *_columns(x, bottom, ""),
        *(svg.line(x(at), 4, x(at), bottom, kind) for at, kind in (references or {}).items()),
        *(_dot_row(row, x, 20 + 34.0 * index, width) for index, row in enumerate(rows)),
    )


def dumbbells(heading: Heading, rows: Sequence[tuple[str, float, float, str]]) -> Markup:
    """Draw the distance between two shares, one row per iteration.

    Args:
        rows: label, share of the others, share of the dominant language, the gap as text.
    """
    height = 46.0 * len(rows) + 30
    lowest = min(min(row[1], row[2]) for row in rows)
    x = Scale(*svg.rounded_domain(max(0.0, lowest - 0.05), 1.0), 44, WIDTH - 20)
    return svg.figure(
        heading,
        (WIDTH, height),
        *_columns(x, height - 28, "%"),
        *(_dumbbell(row, x, 30 + 46.0 * index) for index, row in enumerate(rows)),
    )


def stacked_bars(
    heading: Heading, rows: Sequence[tuple[str, Sequence[tuple[float, str]], str]]
) -> Markup:
    """Draw counts as stacked bars of equal length, one row per language.

    Args:
        rows: label, parts (count and CSS class), text on the right.
    """
    names = 16 + 7.4 * max(len(row[0]) for row in rows)
    numbers = 14 + 7.2 * max(len(row[2]) for row in rows)
    bars: list[Markup] = []
    for index, (label, parts, written) in enumerate(rows):
        y = 18 + 30.0 * index
        whole = sum(count for count, _ in parts) or 1.0
        x = names
        bars.append(svg.text(0, y, label, "label"))
        for count, kind in parts:
            length = (WIDTH - names - numbers) * count / whole
            bars.append(svg.tag("rect", x=x, y=y - 8, width=length, height=16, class_=kind))
            x += length
        bars.append(svg.text(WIDTH, y, written, "value", "end"))
    return svg.figure(heading, (WIDTH, 30.0 * len(rows) + 8), *bars)


def _columns(x: Scale, bottom: float, unit: str) -> list[Markup]:
    """Return vertical grid lines, labelled below in percent."""
    return [
        part
        for mark in svg.ticks(x.low, x.high, 4)
        for part in (
            svg.line(x(mark), 4, x(mark), bottom, "grid"),
            svg.text(x(mark), bottom + 14, f"{plain(mark * 100)}{unit}", "axis", "middle"),
        )
    ]


def _dot_row(row: ReportRow, x: Scale, y: float, width: float) -> Markup:
    at = None if row.bar is None else x(row.bar)
    return svg.tag(
        "g",
        *([] if at is None else [svg.line(at, y - 14, at, y + 14, "tolerance")]),
        svg.text(0, y, row.label, "label"),
        svg.line(x(row.value["low"]), y, x(row.value["high"]), y, "whisker"),
        svg.marker(x(row.value["value"]), y, row.shape, "mark"),
        svg.text(width, y, row.written, "value", "end"),
        class_=row.kind,
    )


def _dumbbell(row: tuple[str, float, float, str], x: Scale, y: float) -> Markup:
    label, others, dominant, written = row
    middle = min(max((x(others) + x(dominant)) / 2, x.start + 36), x.end - 30)
    return svg.tag(
        "g",
        svg.text(0, y, label, "label"),
        svg.line(x(others), y, x(dominant), y, "bar"),
        svg.tag("g", svg.marker(x(dominant), y, 1, "mark", 5.5), class_="dominant"),
        svg.tag("g", svg.marker(x(others), y, 0, "mark", 5.5), class_="mean"),
        svg.text(middle, y - 17, written, "value", "middle"),
    )


def diverging_bars(heading: Heading, rows: Sequence[tuple[str, float, float]]) -> Markup:
    """Draw two counts per row, as bars to the left and right of a common line.

    Args:
        rows: label, count on the left (class `lost`) and on the right (class `gained`).
    """
    names = min(16 + 7.4 * max(len(row[0]) for row in rows), WIDTH * 0.4)
    numbers = 12 + 7.2 * max(len(number(max(row[1:]))) for row in rows)
    left, right = max(row[1] for row in rows), max(row[2] for row in rows)
    scale = (WIDTH - names - 2 * numbers) / ((left + right) or 1.0)
    middle = names + numbers + left * scale
    bars: list[Markup] = []
    for index, (label, lost, gained) in enumerate(rows):
        y = 18 + 30.0 * index
        start, end = middle - lost * scale, middle + gained * scale
        bars += [
            svg.text(0, y, label, "label"),
            svg.tag("rect", x=start, y=y - 8, width=lost * scale, height=16, class_="lost"),
            svg.tag("rect", x=middle, y=y - 8, width=gained * scale, height=16, class_="gained"),
            svg.text(start - 6, y, number(lost), "value", "end"),
            svg.text(end + 6, y, number(gained), "value"),
        ]
    height = 30.0 * len(rows) + 8
    line = svg.line(middle, 2, middle, height - 2, "zero")
    return svg.figure(heading, (WIDTH, height), *bars, line)


def bars(heading: Heading, rows: Sequence[tuple[str, float, str]]) -> Markup:
    """Draw one bar per row.

    Args:
        rows: label, amount, and the amount as text.
    """
    names = min(16 + 7.4 * max(len(row[0]) for row in rows), WIDTH * 0.4)
    numbers = 12 + 7.2 * max(len(row[2]) for row in rows)
    scale = (WIDTH - names - numbers) / (max(row[1] for row in rows) or 1.0)
    drawn: list[Markup] = []
    for index, (label, amount, written) in enumerate(rows):
        y = 18 + 30.0 * index
        drawn += [
            svg.text(0, y, label, "label"),
            svg.tag("rect", x=names, y=y - 8, width=amount * scale, height=16, class_="kept"),
            svg.text(names + amount * scale + 6, y, written, "value"),
        ]
    return svg.figure(heading, (WIDTH, 30.0 * len(rows) + 8), *drawn)
