"""The imbalance map: how far the dominant language leads each other one, model by model."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from lidr.components.report.blocks import Cell, Chart, Section, Table, swatch
from lidr.components.report.history import Round
from lidr.components.report.result import difference, gap_of
from lidr.components.report.words import language, lead, percent
from lidr.components.shared.config.recipe import Languages

_LEVELS = (0.01, 0.05, 0.1, 0.2, 0.4)
"""Leads from which each further shade begins, as fractions."""

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


Column = tuple[Round, str]
"""A model in the map, and the language that its others are compared with."""


def imbalance(languages: Languages, columns: Sequence[Column]) -> Section | None:
    """Return the map, a heat map in a colour-blind safe scale; None without any other language.

    Args:
        languages: all languages that a column may have.
        columns: the models, in order.
    """
    codes = [code for code in languages.others if any(code in item.accuracy for item, _ in columns)]
    if not codes:
        return None
    lines: list[list[str | Cell]] = [
        [swatch(languages, code), *(_cell(code, each) for each in columns)] for code in codes
    ]
    lines += [
        ["Mean of the other languages", *(_mean(each) for each in columns)],
        [swatch(languages, languages.dominant), *(_leader(each) for each in columns)],
    ]
    titles = ["Language", *(item.name for item, _ in columns)]
    leader = language(languages.dominant)
    return Section(
        "imbalance",
        "Imbalance map",
        f"The accuracy of {leader} minus that of each language, in points: below zero, {leader} "
        "is behind. The method works where the shades fade.",
        charts=[Chart("", Markup(""), legend=_LEGEND)],
        tables=[
            Table(f"Lead of {leader}, in points", titles, lines, heat=True),
            Table(
                f"Lead of {leader} with 95% limits, as if languages were independent",
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
    item, dominant = column
    accuracy = item.accuracy
    if code not in accuracy or dominant not in accuracy:
        return Cell("–", "none")
    return _shaded(accuracy[dominant]["value"] - accuracy[code]["value"])


def _mean(column: Column) -> Cell:
    item, dominant = column
    if dominant not in item.accuracy:
        return Cell("–", "none")
    return _shaded(gap_of(item, dominant)["value"])


def _leader(column: Column) -> Cell:
    item, dominant = column
    own = item.accuracy.get(dominant)
    return Cell(percent(own["value"]) if own else "–", "none")


def _limits(code: str, column: Column) -> str:
    item, dominant = column
    accuracy = item.accuracy
    if code not in accuracy or dominant not in accuracy:
        return "–"
    gap = difference(accuracy[dominant], accuracy[code])
    return f"{lead(gap['low'])} to {lead(gap['high'])}"


def _shaded(gap: float) -> Cell:
    level = sum(abs(gap) >= bound for bound in _LEVELS)
    if not level:
        return Cell(lead(gap), "even")
    return Cell(lead(gap), f"behind{level}" if gap > 0 else f"ahead{min(level, 2)}")
