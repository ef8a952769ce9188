"""One or two evaluated models, outside a run: a table of numbers, and one HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.report.blocks import Chart, Section, Table, kind_of, measured, shape_of, swatch
from components.report.flips import flips
from components.report.html import page
from components.report.outcomes import NARROW, WIDE, by_model
from components.report.rows import Row, dots
from components.report.svg import rounded_domain
from components.report.words import language, limits, listed, percent, signed
from components.shared.digest import seed_of
from components.shared.errors import BadInput
from components.shared.recipe import Recipe
from components.shared.records import EvalItem
from components.shared.stage import open_stage
from components.shared.statistics import paired_gains


@dataclass(frozen=True)
class Evaluated:
    """A model with its evaluation.

    Attributes:
        name: short, as charts and tables have room for: A or B.
        source: as the user named it.
        counts: of the evaluate stage.
        items: every item.
    """

    name: str
    source: str
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
    return Evaluated(name, source, stage.counts(), stage.read_records(["items.parquet"], EvalItem))


def compare(settings: Recipe, models: Sequence[Evaluated]) -> dict[str, Any]:
    """Return what was measured, and of two models the second one's gains over the first.

    Args:
        settings: the recipe.
        models: one or two.

    Returns:
        `models` (name, source, languages, average) and, of two, `gains`: by language `gain` (an
        interval by paired bootstrap), `won` and `lost` items; `mean_gain` is over the others.

    Raises:
        BadInput: the two were not evaluated on the same items.
    """
    result: dict[str, Any] = {
        "models": [
            {
                "name": each.name,
                "source": each.source,
                **{key: each.counts[key] for key in ("languages", "average")},
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
    sections = [_accuracy(settings, models)]
    shown = []
    if len(models) == 2:
        sections.append(_gain_section(settings, names, result))
        pair = (names[0], names[1])
        shown.append(flips(settings.languages, models[0].items, models[1].items, pair))
    return page(
        "comparison.html",
        settings=settings,
        title=_outcome(result),
        models=[(each.name, each.source) for each in models],
        subtitle=f"Tasks {', '.join(settings.evaluation.tasks)} in "
        f"{listed([language(code) for code in settings.languages.all])}.",
        sections=sections,
        flips=shown,
    )


def _outcome(result: dict[str, Any]) -> str:
    if "mean_gain" not in result:
        average = result["models"][0]["average"]
        return f"Average of the other languages: {percent(average['value'])} ({limits(average)})."
    gain = result["mean_gain"]
    shift = f"{signed(gain['value'])} points ({signed(gain['low'])} to {signed(gain['high'])})"
    return f"B against A, mean over the other languages: {shift}."


def _gains(settings: Recipe, before: Evaluated, after: Evaluated) -> dict[str, Any]:
    old, new = (_scores(each.items) for each in (before, after))
    if old.keys() != new.keys():
        missing = min(old.keys() ^ new.keys())
        raise BadInput(
            f"the evaluations hold different items, for example {missing}",
            remedy="Evaluate both models with the same recipe.",
        )
    differences: dict[str, list[float]] = {}
    for key in sorted(old):
        differences.setdefault(key[1], []).append(new[key] - old[key])
    codes = [code for code in settings.languages.all if code in differences]
    each, _ = _bootstrap(settings, differences, codes)
    others = [code for code in codes if code in settings.languages.others]
    _, mean = _bootstrap(settings, differences, others)
    return {
        "mean_gain": mean,
        "gains": {
            code: {
                "gain": gain,
                "won": sum(value > 0 for value in differences[code]),
                "lost": sum(value < 0 for value in differences[code]),
            }
            for code, gain in zip(codes, each, strict=True)
        },
    }


def _bootstrap(
    settings: Recipe, differences: dict[str, list[float]], codes: Sequence[str]
) -> tuple[list[Any], Any]:
    return paired_gains(
        [np.asarray(differences[code]) for code in codes],
        confidence=settings.gate.confidence,
        resamples=settings.gate.resamples,
        seed=seed_of(settings.seed, "comparison"),
    )


def _scores(items: Sequence[EvalItem]) -> dict[tuple[str, str, str], float]:
    return {(item.task, item.language, item.item_id): item.score for item in items}


def _accuracy(settings: Recipe, models: Sequence[Evaluated]) -> Section:
    names = [each.name for each in models]
    scores = [each.counts["languages"] for each in models]
    values = {
        code: [each[code]["accuracy"] if code in each else None for each in scores]
        for code in settings.languages.all
    }
    image, narrow = (
        by_model(settings, names, identity, "Score by language", values, size)
        for identity, size in (("accuracy", WIDE), ("accuracy-narrow", NARROW))
    )
    averages = [measured(each.counts["average"]) for each in models]
    return Section(
        "accuracy",
        "Score",
        "Mean score by language; whiskers are 95% intervals.",
        charts=[Chart("", image, narrow)],
        tables=[
            Table(
                "Score with 95% intervals",
                ["Language", *names],
                [
                    *(
                        [swatch(settings.languages, code), *map(measured, row)]
                        for code, row in values.items()
                    ),
                    ["Average of the others", *averages],
                ],
            ),
            _answers(settings, names, scores),
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
                *(percent(each[code]["truncated"]) for each in scores),
                *(f"{each[code]['mean_tokens']:.0f}" for each in scores),
            ]
            for code in settings.languages.all
            if all(code in each for each in scores)
        ],
        folded=True,
    )


def _gain_section(settings: Recipe, names: Sequence[str], result: dict[str, Any]) -> Section:
    languages = settings.languages
    rows = [Row("Mean", "mean", 3, result["mean_gain"], signed(result["mean_gain"]["value"]))]
    rows += [
        Row(
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
        ["Language", "Gain", "Interval", "Won", "Lost"],
        [
            ["Mean of the others", rows[0].written, limits(result["mean_gain"]), "", ""],
            *(
                [
                    swatch(languages, code),
                    signed(row["gain"]["value"]),
                    limits(row["gain"]),
                    str(row["won"]),
                    str(row["lost"]),
                ]
                for code, row in result["gains"].items()
            ),
        ],
    )
    return Section(
        "gain",
        "Gain",
        f"On the same items, by paired bootstrap; {settings.gate.confidence:.0%} intervals.",
        charts=[Chart(title, image)],
        tables=[table],
    )


_ENDS = ((min, "low"), (max, "high"))
