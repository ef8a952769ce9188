"""The imbalance map: how far each language lies behind the dominant one, model by model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from lidr.components.report.blocks import Cell, Chart, Section, Table, swatch
from lidr.components.report.history import Round
from lidr.components.report.result import difference
from lidr.components.report.words import language, percent, signed
from lidr.components.shared.config.recipe import Languages

_LEVELS = (0.01, 0.05, 0.1, 0.2, 0.4)
"""Where one shade ends and the next begins, as fractions."""

_LEGEND = (
    ("behind5", "over 40 points behind"),
    ("behind4", "20 to 40"),
    ("behind3", "10 to 20"),
    ("behind2", "5 to 10"),
    ("behind1", "1 to 5"),
    ("even", "within 1 point"),
    ("ahead1", "1 to 5 ahead"),
    ("ahead2", "over 5 ahead"),
)


@dataclass(frozen=True, slots=True)
class Column:
    """A model in the map; `dominant` is the language that its others are held against."""

    title: str
    item: Round
    dominant: str


def imbalance(languages: Languages, columns: Sequence[Column]) -> Section | None:
    """Return the map; a table whose cells are shaded, in a scale that colour-blind eyes can read.

    Args:
        languages: all that a column may have.
        columns: the models, in order.
    """
    codes = [
        code for code in languages.others if any(code in column.item.accuracy for column in columns)
    ]
    if not codes:
        return None
    lines: list[list[str | Cell]] = [
        [swatch(languages, code), *(_cell(code, each) for each in columns)] for code in codes
    ]
    lines += [
        ["Mean of the others", *(_mean(each) for each in columns)],
        [swatch(languages, languages.dominant), *(_leader(each) for each in columns)],
    ]
    titles = ["Language", *(column.title for column in columns)]
    lead = language(languages.dominant)
    return Section(
        "imbalance",
        "Imbalance map",
        f"Accuracy minus that of {lead}, in points: below zero, {lead} leads. The method works "
        "where the shades fade.",
        charts=[Chart("", Markup(""), legend=_LEGEND)],
        tables=[
            Table(
                f"Distance to {lead}, in points",
                titles,
                lines,
                heat=True,
            ),
            Table(
                f"Distance to {lead} with 95% limits, as if languages were independent",
                titles,
                [
                    [swatch(languages, code), *(_limits(code, each) for each in columns)]
                    for code in codes
                ],
                folded=True,
            ),
        ],
    )


def _cell(code: str, column: Column) -> Cell:
    accuracy = column.item.accuracy
    if code not in accuracy or column.dominant not in accuracy:
        return Cell("–", "none")
    return _shaded(accuracy[code]["value"] - accuracy[column.dominant]["value"])


def _mean(column: Column) -> Cell:
    if column.dominant not in column.item.accuracy:
        return Cell("–", "none")
    return _shaded(column.item.average["value"] - column.item.accuracy[column.dominant]["value"])


def _leader(column: Column) -> Cell:
    own = column.item.accuracy.get(column.dominant)
    return Cell(percent(own["value"]) if own else "–", "none")


def _limits(code: str, column: Column) -> str:
    accuracy = column.item.accuracy
    if code not in accuracy or column.dominant not in accuracy:
        return "–"
    gap = difference(accuracy[code], accuracy[column.dominant])
    return f"{signed(gap['low'])} to {signed(gap['high'])}"


def _shaded(gap: float) -> Cell:
    level = sum(abs(gap) >= bound for bound in _LEVELS)
    if not level:
        return Cell(signed(gap), "even")
    return Cell(signed(gap), f"behind{level}" if gap < 0 else f"ahead{min(level, 2)}")
