"""What the page is made of: sections with charts and tables, and the look of each language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from markupsafe import Markup

from lidr.components.report.history import Round
from lidr.components.report.words import language, limits, percent
from lidr.components.shared.config.recipe import Languages

COLOURS = 8
"""Number of colours in style.css for other languages; further languages repeat them."""

_SHAPES = (0, 2, 3)

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the row.

    Attributes:
        caption: what it holds.
        columns: the column heads.
        rows: the cells: text, Markup or Cell.
        folded: whether it is folded behind a "Numbers" line.
        wordy: whether cells hold text rather than numbers.
        heat: whether it is a heat map.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    folded: bool = False
    wordy: bool = False
    heat: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """An image with a caption; `narrow` replaces `image` on a phone."""

    caption: str
    image: Markup
    narrow: Markup | str = ""
    legend: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class KeyFigure:
    """A key number at the top of the page."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A coloured table cell; `kind` is its CSS class."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Filter:
    """A menu that keeps the entries whose tag has the chosen value."""

    tag: str
    label: str
    options: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Browser:
    """Entries that are searched and filtered (browser.js draws them).

    Attributes:
        data: the entries as JSON that is safe inside a script element.
        filters: the menus.
        rank: name of the number that entries can be sorted by; "" for none.
        count: how many there are.
    """

    data: Markup
    filters: Sequence[Filter]
    rank: str
    count: int


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        identity: its anchor.
        title: its heading.
        lede: how to read it.
        warnings: what a reader must not miss.
        charts: drawn side by side if there is room.
        tables: below the charts.
        browser: below the tables.
    """

    identity: str
    title: str
    lede: str
    warnings: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    browser: Browser | None = None


def colour_class(languages: Languages, code: str) -> str:
    """Return the CSS class of a language's colour, the same in every chart."""
    if code not in languages.others:
        return "dominant"
    return f"c{languages.others.index(code) % COLOURS + 1}"


def marker_shape(languages: Languages, code: str) -> int:
    """Return the shape of a language's marks, which helps to tell languages apart without colour.

    Three shapes take turns; the dominant language has its own.
    """
    if code not in languages.others:
        return 1
    return _SHAPES[languages.others.index(code) % len(_SHAPES)]


def swatch(languages: Languages, code: str) -> Markup:
    """Return a language's name after a dot in its colour."""
    colour = colour_class(languages, code)
    return Markup('<i class="swatch {}"></i>{}').format(colour, language(code))


def by_language(languages: Languages, rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return rows by language code in the recipe's order (markers sort their keys)."""
    return {code: rows[code] for code in languages.all if code in rows}


def by_direction(languages: Languages, rows: Mapping[str, Row]) -> dict[str, Row]:
    """Return rows by direction, those out of the dominant language first, in the recipe's order."""
    keys = [f"{languages.dominant}-{code}" for code in languages.others]
    keys += [f"{code}-{languages.dominant}" for code in languages.others]
    return {key: rows[key] for key in keys if key in rows}


def verdict(item: Round) -> Markup:
    """Return the gate's decision on a model as a badge."""
    kind, word = {
        "promote": ("good", "promoted"),
        "keep": ("plain", f"keep {item.predecessor}"),
        "start": ("plain", "start"),
    }.get(item.decision, ("bad", "stop"))
    return Markup('<span class="badge {}">{}</span>').format(kind, word)


def measured(interval: Mapping[str, float] | None) -> Markup:
    """Return a cell with a share and, in small print, its limits."""
    if interval is None or interval.get("n") == 0:
        return Markup('<span class="none">not measured</span>')
    return Markup("{} <small>{}</small>").format(percent(interval["value"]), limits(interval))


def scored(row: Mapping[str, Any] | None) -> Markup:
    """Return a cell with an accuracy, its limits, and how many of the answers were cut.

    Args:
        row: an evaluation's counts of a language; None if it has no items.
    """
    if row is None or not row["accuracy"]["n"]:
        return measured(None)
    return _with_cut(row["accuracy"], row["truncated"]["value"])


def averaged(counts: Mapping[str, Any]) -> Markup:
    """Return a cell like that of `scored`, for the average of the other languages."""
    if not counts["average"]["n"]:
        return measured(None)
    return _with_cut(counts["average"], counts["average_truncated"])


def _with_cut(interval: Mapping[str, float], cut: float) -> Markup:
    return Markup("{} <small>{}, {} cut</small>").format(
        percent(interval["value"]), limits(interval), percent(cut)
    )
