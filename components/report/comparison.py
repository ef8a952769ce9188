"""One or two evaluated models, outside a run: a table of numbers, and one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lidr.components.report.blocks import (
    Chart,
    Section,
    Table,
    averaged,
    kind_of,
    measured,
    scored,
    shape_of,
    swatch,
)
from lidr.components.report.flips import flips
from lidr.components.report.html import page
from lidr.components.report.outcomes import NARROW, WIDE, by_model
from lidr.components.report.rows import ReportRow, dots
from lidr.components.report.svg import rounded_domain
from lidr.components.report.words import chance, language, limits, listed, literal, percent, signed
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.stats.intervals import bootstrap_mean
from lidr.components.shared.stats.paired import Paired, by_question
from lidr.components.shared.stats.paired import compare as compare_items
from lidr.components.shared.stats.tests import holm, sign_flip
from lidr.components.shared.stats.truncation import truncation_warning
from lidr.components.shared.store.stage import open_stage


@dataclass(frozen=True)
class Evaluated:
    """A model with its evaluation.

    Attributes:
        name: short, as charts and tables have room for: A or B.
        source: as the user named it.
        evaluation: URI of the evaluate stage.
        counts: of that stage.
        items: every item.
    """

    name: str
    source: str
    evaluation: str
    counts: dict[str, Any]
    items: list[EvalItem]


def evaluated(name: str, source: str, evaluation: str) -> Evaluated:
    """Read an evaluate stage.

    Args:
        name: of the model, short.
        source: as the user named it.
        evaluation: URI of the stage.
    """
    stage = open_stage(evaluation)
    items = stage.read_records(["items.parquet"], EvalItem)
    return Evaluated(name, source, evaluation, stage.counts(), items)


def compare(settings: Recipe, models: Sequence[Evaluated]) -> dict[str, Any]:
    """Return what was measured, and of two models the second one's gains over the first.

    Args:
        settings: the recipe.
        models: one or two.

    Returns:
        `models` (name, source, languages, average) and, of two, `gains`: by language `gain` (an
        interval by paired bootstrap), `won` and `lost` items and `p` (two-sided sign-flip test,
        McNemar's for items that are right or wrong, Holm-corrected); `mean_gain` over the others
        and its `p` count a question that is asked in several languages once.

    Raises:
        BadInput: the two were not evaluated on the same items.
    """
    result: dict[str, Any] = {
        "models": [
            {
                "name": each.name,
                "source": each.source,
                **{key: each.counts[key] for key in ("languages", "average", "average_truncated")},
            }
            for each in models
        ]
    }
    if len(models) == 2:
        result |= _gains(settings, *models)
    return result


def render(settings: Recipe, models: Sequence[Evaluated], result: dict[str, Any]) -> str:
    """Return the page on one or two models; everything that a model wrote is escaped.

    Args:
        settings: the recipe.
        models: one or two.
        result: as `compare` gives it.
    """
    names = tuple(each.name for each in models)
    sections = [scores(settings, models)]
    if len(models) == 2:
        sections.append(gain_section(settings, names, result))
        pair = (names[0], names[1])
        sections.append(flips(settings.languages, models[0].items, models[1].items, pair))
    return page(
        product="lidr evaluate",
        name=settings.name,
        title=_outcome(result),
        facts=[(each.name, literal(each.source)) for each in models],
        subtitle=f"Tasks {', '.join(settings.evaluation.tasks)} in "
        f"{listed([language(code) for code in settings.languages.all])}.",
        sections=sections,
    )


def _outcome(result: dict[str, Any]) -> str:
    if "mean_gain" not in result:
        average = result["models"][0]["average"]
        return f"Average of the other languages: {percent(average['value'])} ({limits(average)})."
    gain = result["mean_gain"]
    shift = f"{signed(gain['value'])} points ({signed(gain['low'])} to {signed(gain['high'])})"
    return f"B against A, mean over the other languages: {shift}."


def _gains(settings: Recipe, before: Evaluated, after: Evaluated) -> dict[str, Any]:
    return gains_of(settings, compare_items(before.evaluation, after.evaluation))


def gains_of(settings: Recipe, paired: Mapping[str, Paired]) -> dict[str, Any]:
    """Return `gains`, `mean_gain` and `p` as `compare` describes them.

    Args:
        settings: the recipe.
        paired: the compared items of each language, some of the others among them.
    """
    draws: dict[str, Any] = {
        "resamples": settings.gate.resamples,
        "seed": seed_of(settings.seed, "comparison"),
    }
    codes = [code for code in settings.languages.all if code in paired]
    others = [paired[code] for code in settings.languages.others if code in paired]
    parts, values = by_question(others)
    level = settings.gate.confidence
    chances = holm([sign_flip(paired[code].gains, **draws) for code in codes])
    return {
        "mean_gain": bootstrap_mean(values, confidence=level, **draws),
        "p": sign_flip(parts, **draws),
        "gains": {
            code: {
                "gain": bootstrap_mean(paired[code].gains, confidence=level, **draws),
                "won": int((paired[code].gains > 0).sum()),
                "lost": int((paired[code].gains < 0).sum()),
                "p": chance,
            }
            for code, chance in zip(codes, chances, strict=True)
        },
    }


def scores(settings: Recipe, models: Sequence[Evaluated]) -> Section:
    """Return the score of one or two models by language."""
    names = [each.name for each in models]
    found = [each.counts["languages"] for each in models]
    values = {
        code: [each[code]["accuracy"] if code in each else None for each in found]
        for code in settings.languages.all
    }
    image, narrow = (
        by_model(settings, names, identity, "Score by language", values, size)
        for identity, size in (("accuracy", WIDE), ("accuracy-narrow", NARROW))
    )
    averages = [averaged(each.counts) for each in models]
    said = [(each.name, truncation_warning(each.counts["languages"])) for each in models]
    return Section(
        "accuracy",
        "Score",
        "Mean score by language; whiskers are 95% intervals.",
        warnings=[f"{name}: {warning}" for name, warning in said if warning],
        charts=[Chart("", image, narrow)],
        tables=[
            Table(
                "Score with 95% intervals, and the share of answers cut at the token limit",
                ["Language", *names],
                [
                    *(
                        [
                            swatch(settings.languages, code),
                            *(scored(each.get(code)) for each in found),
                        ]
                        for code in settings.languages.all
                    ),
                    ["Average of the others", *averages],
                ],
            ),
            _answers(settings, names, found),
        ],
    )


def _answers(settings: Recipe, names: Sequence[str], scores: Sequence[Any]) -> Table:
    """Return what else there is to know of the answers: language, cut, length, failed."""
    head = [f"{what}, {name}" for what in ("Off target", "Cut", "Tokens") for name in names]
    return Table(
        "Answers: in another language, cut at the longest length, mean tokens",
        ["Language", *head],
        [
            [
                swatch(settings.languages, code),
                *(measured(each[code]["off_target"]) for each in scores),
                *(measured(each[code]["truncated"]) for each in scores),
                *(f"{each[code]['mean_tokens']:.0f}" for each in scores),
            ]
            for code in settings.languages.all
            if all(code in each for each in scores)
        ],
        folded=True,
    )


def gain_section(settings: Recipe, names: Sequence[str], result: dict[str, Any]) -> Section:
    """Return what the second of two models gained over the first, as `compare` found it."""
    languages = settings.languages
    rows = [ReportRow("Mean", "mean", 3, result["mean_gain"], signed(result["mean_gain"]["value"]))]
    rows += [
        ReportRow(
            language(code),
            kind_of(languages, code),
            shape_of(languages, code),
            row["gain"],
            signed(row["gain"]["value"]),
        )
        for code, row in result["gains"].items()
    ]
    low, high = (choose(row.value[key] for row in rows) for choose, key in _ENDS)
    described = "; ".join(f"{row.label} {row.written}" for row in rows)
    title = f"Gain of {names[1]} over {names[0]}, in points"
    domain = rounded_domain(min(low, -0.01), max(high, 0.01))
    image = dots("gains", title, described, rows, domain, {0.0: "zero"})
    table = Table(
        "Gain in points, items won and lost",
        ["Language", "Gain", "Interval", "Won", "Lost", "p"],
        [
            [
                "Mean of the others",
                rows[0].written,
                limits(result["mean_gain"]),
                "",
                "",
                chance(result["p"]),
            ],
            *(
                [
                    swatch(languages, code),
                    signed(row["gain"]["value"]),
                    limits(row["gain"]),
                    str(row["won"]),
                    str(row["lost"]),
                    chance(row["p"]),
                ]
                for code, row in result["gains"].items()
            ),
        ],
    )
    return Section(
        "gain",
        "Gain",
        f"On the same items, by paired bootstrap; {settings.gate.confidence:.0%} intervals. "
        "p: exact two-sided test, corrected for the number of languages (Holm).",
        charts=[Chart(title, image)],
        tables=[table],
    )


_ENDS = ((min, "low"), (max, "high"))
