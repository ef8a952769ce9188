"""One or two evaluated models, outside a run: their numbers, and one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lidr.components.report.blocks import Chart, Section, Table, measured, swatch
from lidr.components.report.charts import Interval
from lidr.components.report.flips import flips
from lidr.components.report.html import page
from lidr.components.report.outcomes import score_chart, score_table
from lidr.components.report.rows import dots, extent, gain_rows, in_words
from lidr.components.report.svg import Heading, rounded_domain
from lidr.components.report.words import (
    language,
    level,
    limits,
    listed,
    literal,
    p_value,
    percent,
    signed,
)
from lidr.components.shared.config.recipe import Recipe
from lidr.components.shared.core.digest import seed_of
from lidr.components.shared.records.schema import EvalItem
from lidr.components.shared.stats.intervals import bootstrap_mean
from lidr.components.shared.stats.paired import PairedItems, by_question, unmatched_tasks
from lidr.components.shared.stats.paired import compare as pair_items
from lidr.components.shared.stats.significance import holm, sign_flip
from lidr.components.shared.stats.truncation import truncation_warning
from lidr.components.shared.store.stage import open_stage


@dataclass(frozen=True)
class Evaluated:
    """A model with its evaluation.

    Attributes:
        name: A or B, for charts and tables.
        source: the model, as the user named it.
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
        name: A or B.
        source: as the user named the model.
        evaluation: URI of the stage.
    """
    stage = open_stage(evaluation)
    items = stage.read_records(["items.parquet"], EvalItem)
    return Evaluated(name, source, stage.counts(), items)


def compare(settings: Recipe, models: Sequence[Evaluated]) -> dict[str, Any]:
    """Return the scores, and for two models the gains of the second one over the first.

    Args:
        settings: the recipe.
        models: one or two.

    Returns:
        `models` (name, source, languages, average, average_truncated). For two models also:
        `gains`, which has by language the `gain` (an interval by paired bootstrap), the `won` and
        `lost` items, and `p` (two-sided sign-flip test, which is McNemar's if items are right or
        wrong; Holm-corrected over languages); `mean_gain` over the other languages, and its `p`,
        both of which count a question that is asked in several languages once; and `unmatched`,
        the tasks whose questions could not be matched between languages.

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
        paired = pair_items(models[0].items, models[1].items)
        result |= gains_of(settings, paired, settings.languages.others)
    return result


def render(settings: Recipe, models: Sequence[Evaluated], result: dict[str, Any]) -> str:
    """Return the page on one or two models as HTML; everything that a model wrote is escaped.

    Args:
        settings: the recipe.
        models: one or two.
        result: as `compare` returns it.
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
    return gain_title(result["mean_gain"])


def gain_title(gain: Interval) -> str:
    """Return the mean gain of B over A as a page's heading."""
    shift = f"{signed(gain['value'])} points ({signed(gain['low'])} to {signed(gain['high'])})"
    return f"B against A, mean over the other languages: {shift}."


def gains_of(
    settings: Recipe, paired: Mapping[str, PairedItems], averaged: Sequence[str]
) -> dict[str, Any]:
    """Return what `compare` adds for two models.

    Args:
        settings: the recipe.
        paired: the compared items of each language.
        averaged: codes of the languages that the mean is over; at least one of them is in `paired`.
    """
    draws: dict[str, Any] = {
        "resamples": settings.gate.resamples,
        "seed": seed_of(settings.seed, "comparison"),
    }
    codes = [code for code in settings.languages.all if code in paired]
    others = [paired[code] for code in averaged if code in paired]
    parts, values = by_question(others)
    confidence = settings.gate.confidence
    adjusted = holm([sign_flip(paired[code].gains, **draws) for code in codes])
    return {
        "mean_gain": bootstrap_mean(values, confidence=confidence, **draws),
        "p": sign_flip(parts, **draws),
        "unmatched": unmatched_tasks(others),
        "gains": {
            code: {
                "gain": bootstrap_mean(paired[code].gains, confidence=confidence, **draws),
                "won": int((paired[code].gains > 0).sum()),
                "lost": int((paired[code].gains < 0).sum()),
                "p": p,
            }
            for code, p in zip(codes, adjusted, strict=True)
        },
    }


def scores(settings: Recipe, models: Sequence[Evaluated]) -> Section:
    """Return the scores of one or two models by language."""
    names = [each.name for each in models]
    counts = [each.counts for each in models]
    found = [each["languages"] for each in counts]
    return Section(
        "accuracy",
        "Score",
        "Mean score by language; whiskers are 95% intervals.",
        warnings=[
            f"{name}: {warning}"
            for name, languages in zip(names, found, strict=True)
            if (warning := truncation_warning(languages))
        ],
        charts=[score_chart(settings, names, "Score by language", counts)],
        tables=[
            score_table(settings, names, "Score", counts),
            _answers(settings, names, found),
        ],
    )


def _answers(settings: Recipe, names: Sequence[str], rows: Sequence[Any]) -> Table:
    """Return the shares of off-target and cut answers, and the mean length of answers."""
    head = [f"{what}, {name}" for what in ("Off target", "Cut", "Tokens") for name in names]
    return Table(
        "Answers in another language or cut at the token limit, and the mean length in tokens",
        ["Language", *head],
        [
            [
                swatch(settings.languages, code),
                *(measured(each[code]["off_target"]) for each in rows),
                *(measured(each[code]["truncated"]) for each in rows),
                *(f"{each[code]['mean_tokens']:.0f}" for each in rows),
            ]
            for code in settings.languages.all
            if all(code in each for each in rows)
        ],
        folded=True,
    )


def _unmatched(tasks: Sequence[str]) -> str:
    if not tasks:
        return ""
    return (
        f" The questions of {listed(tasks)} could not be matched between languages, so the mean's "
        "interval and p assume the matching under which the mean varies most."
    )


def gain_section(settings: Recipe, names: Sequence[str], result: dict[str, Any]) -> Section:
    """Return the gains of the second of two models over the first, as `compare` returns them."""
    languages = settings.languages
    rows = gain_rows(languages, result["mean_gain"], result["gains"])
    low, high = extent(row.value for row in rows)
    title = f"Gain of {names[1]} over {names[0]}, in points"
    domain = rounded_domain(min(low, -0.01), max(high, 0.01))
    image = dots(Heading("gains", title, in_words(rows)), rows, domain, {0.0: "zero"})
    table = Table(
        "Gain in points, items won and lost",
        ["Language", "Gain", "Interval", "Won", "Lost", "p"],
        [
            [
                "Mean of the other languages",
                rows[0].written,
                limits(result["mean_gain"]),
                "",
                "",
                p_value(result["p"]),
            ],
            *(
                [
                    swatch(languages, code),
                    signed(row["gain"]["value"]),
                    limits(row["gain"]),
                    str(row["won"]),
                    str(row["lost"]),
                    p_value(row["p"]),
                ]
                for code, row in result["gains"].items()
            ),
        ],
    )
    return Section(
        "gain",
        "Gain",
        f"On the same items, with {level(settings.gate.confidence)} intervals by paired bootstrap. "
        "p is that of a two-sided sign-flip test; the p of each language is corrected for the "
        f"number of languages (Holm), that of the mean is not.{_unmatched(result['unmatched'])}",
        charts=[Chart(title, image)],
        tables=[table],
    )
