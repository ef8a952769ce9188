"""The sections on what the models can do: accuracy, gap between languages, off-target answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from lidr.components.report import charts, rows
from lidr.components.report.blocks import (
    Chart,
    Section,
    Table,
    averaged,
    colour_class,
    marker_shape,
    measured,
    scored,
    swatch,
)
from lidr.components.report.charts import WIDTH, Series
from lidr.components.report.history import Counts, Round
from lidr.components.report.overlaps import overlaps
from lidr.components.report.result import gap_of, warnings_of
from lidr.components.report.svg import Heading, rounded_domain
from lidr.components.report.words import language, lead, percent
from lidr.components.shared.config.recipe import Recipe

WIDE = (920.0, 360.0)
NARROW = (WIDTH, 340.0)


def accuracy(settings: Recipe, rounds: list[Round]) -> Section:
    """Return accuracy by language and iteration."""
    names = [item.name for item in rounds]
    counts = [item.counts("evaluate") for item in rounds]
    tasks = ", ".join(settings.evaluation.tasks)
    return Section(
        "accuracy",
        "Accuracy",
        f"Share of right answers on {tasks}, by iteration. Whiskers are 95% intervals. "
        "M₀ is the start; each later model was trained from the last one promoted before it.",
        warnings=warnings_of(rounds),
        charts=[score_chart(settings, names, "Accuracy by language", counts)],
        tables=[
            score_table(settings, names, "Accuracy", counts),
            *overlaps(settings, rounds[-1]),
        ],
    )


def score_chart(
    settings: Recipe, names: Sequence[str], title: str, counts: Sequence[Counts]
) -> Chart:
    """Return the scores of models by language, drawn for a wide and for a narrow screen.

    Args:
        settings: the recipe.
        names: the models' names.
        title: the chart's title.
        counts: of each model's evaluate stage.
    """
    values = {
        code: [each["languages"].get(code, {}).get("accuracy") for each in counts]
        for code in settings.languages.all
    }
    wide, narrow = (
        by_model(settings, names, identity, title, values, size)
        for identity, size in (("accuracy", WIDE), ("accuracy-narrow", NARROW))
    )
    return Chart("", wide, narrow)


def score_table(
    settings: Recipe, names: Sequence[str], what: str, counts: Sequence[Counts]
) -> Table:
    """Return the scores of models by language, and their average where there is one.

    `what` begins the caption; the other arguments are those of `score_chart`.
    """
    average = ["Average of the other languages", *(averaged(each) for each in counts)]
    return Table(
        f"{what} with 95% intervals, and the share of answers cut at the token limit",
        ["Language", *names],
        [
            *(
                [
                    swatch(settings.languages, code),
                    *(scored(each["languages"].get(code)) for each in counts),
                ]
                for code in settings.languages.all
            ),
            *([average] if any(each["average"]["n"] for each in counts) else []),
        ],
    )


def balance(settings: Recipe, rounds: list[Round]) -> Section:
    """Return the dominant language's lead, and the shares of answers in the wrong language."""
    dominant = language(settings.languages.dominant)
    values = {
        code: [item.scores[code]["off_target"] if code in item.scores else None for item in rounds]
        for code in settings.languages.all
    }
    return Section(
        "gap",
        "The gap between languages",
        f"How far {dominant} leads the average of the other languages (below zero, they lead), and "
        "how often the model answers in a language it was not asked in.",
        charts=[
            Chart(
                f"Lead of {dominant}, in points",
                _gap_chart(settings, rounds),
                legend=[("dominant", dominant), ("mean", "Average of the other languages")],
            ),
            Chart(
                "Off-target answers",
                by_model(
                    settings,
                    [item.name for item in rounds],
                    "off-target",
                    "Off-target answers by language",
                    values,
                    (WIDTH, max(240.0, 60.0 + 16.0 * len(values))),
                ),
            ),
        ],
        tables=[_gap_table(settings, rounds), _off_target_table(settings, rounds, values)],
    )


def by_model(
    settings: Recipe,
    names: Sequence[str],
    identity: str,
    title: str,
    values: dict[str, list[Any]],
    size: tuple[float, float],
) -> Markup:
    """Draw shares with intervals by language, one column per model.

    Args:
        settings: the recipe.
        names: the models' names.
        identity: the chart's id, unique on the page.
        title: the chart's title.
        values: by language code, an interval per model, None where it was not measured.
        size: width and height in pixels.
    """
    low, high = rows.extent(value for row in values.values() for value in row if value is not None)
    low, high = rounded_domain(low, max(high, 0.1))
    described = "; ".join(
        f"{language(code)}: "
        + ", ".join(
            f"{name} {percent(value['value'])}"
            for name, value in zip(names, row, strict=True)
            if value is not None
        )
        for code, row in values.items()
    )
    heading = Heading(identity, title, described)
    if len(names) == 1:  # a single column makes no line
        lines = [
            rows.language_row(settings.languages, code, value, percent(value["value"]))
            for code, (value,) in values.items()
            if value is not None
        ]
        return rows.dots(heading, lines, (0.0, min(high, 1.0)), width=size[0])
    series = [
        Series(
            language(code),
            colour_class(settings.languages, code),
            marker_shape(settings.languages, code),
            values[code],
            percent(values[code][-1]["value"]) if values[code][-1] else "",
        )
        for code in settings.languages.all
    ]
    domain = max(low, 0.0), min(high, 1.0)
    return charts.over_iterations(heading, names, series, size, domain)


def _gap_chart(settings: Recipe, rounds: list[Round]) -> Markup:
    dominant = settings.languages.dominant
    lines = [
        (
            item.name,
            item.average["value"],
            item.accuracy[dominant]["value"],
            f"{lead(gap_of(item, dominant)['value'])} points",
        )
        for item in rounds
    ]
    described = "; ".join(f"{name}: {written}" for name, _, _, written in lines)
    heading = Heading("gap-chart", "Gap between languages by iteration", described)
    return rows.dumbbells(heading, lines)


def _gap_table(settings: Recipe, rounds: list[Round]) -> Table:
    dominant = settings.languages.dominant
    return Table(
        f"{language(dominant)} minus the average of the others, in points (the interval assumes "
        "that languages do not share items)",
        ["Model", language(dominant), "Average of the other languages", "Gap", "95% interval"],
        [
            [
                item.name,
                percent(item.accuracy[dominant]["value"]),
                percent(item.average["value"]),
                lead((gap := gap_of(item, dominant))["value"]),
                f"{lead(gap['low'])} to {lead(gap['high'])}",
            ]
            for item in rounds
        ],
        folded=True,
    )


def _off_target_table(settings: Recipe, rounds: list[Round], values: dict[str, list[Any]]) -> Table:
    return Table(
        "Answers in another language than the question's, with 95% intervals",
        ["Language", *(item.name for item in rounds)],
        [
            [swatch(settings.languages, code), *(measured(value) for value in row)]
            for code, row in values.items()
        ],
        folded=True,
    )
