"""The imbalance map: how far the dominant language leads each other language, by model."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from lidr.components.report.blocks import Cell, Chart, Section, Table, swatch
from lidr.components.report.history import Round
from lidr.components.report.result import difference, gap_of
from lidr.components.report.words import language, lead, percent
from lidr.components.shared.config.recipe import Languages

_LEVELS = (1, 5, 10, 20, 40)
"""Lower bound of each shade, in points."""

_LEGEND = (
    ("behind5", "40 or more points behind"),
    ("behind4", "20 to 40 behind"),
    ("behind3", "10 to 20 behind"),
    ("behind2", "5 to 10 behind"),
    ("behind1", "1 to 5 behind"),
    ("even", "within 1 point"),
    ("ahead1", "1 to 5 ahead"),
    ("ahead2", "5 or more ahead"),
)


def imbalance(languages: Languages, models: Sequence[Round]) -> Section | None:
    """Return the map, a heat map in a colour-blind safe scale; None without any other language.

    Args:
        languages: all that a model may have been measured in.
        models: in order, the columns of the map.
    """
    codes = [code for code in languages.others if any(code in item.accuracy for item in models)]
    if not codes:
        return None
    dominant, leader = languages.dominant, language(languages.dominant)
    lines: list[list[str | Cell]] = [
        [swatch(languages, code), *(_cell(code, dominant, item) for item in models)]
        for code in codes
    ]
    lines += [
        ["Mean of the other languages", *(_mean(dominant, item) for item in models)],
        [f"Accuracy of {leader}", *(_leader(dominant, item) for item in models)],
    ]
    titles = ["Language", *(item.name for item in models)]
    return Section(
        "imbalance",
        "Imbalance map",
        f"The accuracy of {leader} minus that of each language, in points: above zero, the "
        f"language is behind {leader}; below zero, it is ahead. Training helps where the shades "
        "fade from left to right.",
        charts=[Chart("", Markup(""), legend=_LEGEND)],
        tables=[
            Table(f"Lead of {leader}, in points", titles, lines, heat=True),
            Table(
                f"Lead of {leader} with 95% intervals (somewhat too wide: they assume that "
                "languages do not share items)",
                titles,
                [
                    [swatch(languages, code), *(_limits(code, dominant, item) for item in models)]
                    for code in codes
                ],
                folded=True,
            ),
        ],
    )


def _cell(code: str, dominant: str, item: Round) -> Cell:
    accuracy = item.accuracy
    if code not in accuracy or dominant not in accuracy:
        return Cell("–", "none")
    return _shaded(accuracy[dominant]["value"] - accuracy[code]["value"])


def _mean(dominant: str, item: Round) -> Cell:
    if dominant not in item.accuracy:
        return Cell("–", "none")
    return _shaded(gap_of(item, dominant)["value"])


def _leader(dominant: str, item: Round) -> Cell:
    own = item.accuracy.get(dominant)
    return Cell(percent(own["value"]) if own else "–", "none")


def _limits(code: str, dominant: str, item: Round) -> str:
    accuracy = item.accuracy
    if code not in accuracy or dominant not in accuracy:
        return "–"
    gap = difference(accuracy[dominant], accuracy[code])
    return f"{lead(gap['low'])} to {lead(gap['high'])}"


def _shaded(gap: float) -> Cell:
    shown = abs(round(gap * 100, 1))  # as `lead` rounds it, so that shade and number agree
    level = sum(shown >= bound for bound in _LEVELS)
    if not level:
        return Cell(lead(gap), "even")
    return Cell(lead(gap), f"behind{level}" if gap > 0 else f"ahead{min(level, 2)}")
