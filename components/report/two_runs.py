"""The page that compares two runs: scores, gains on the same items, settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lidr.components.report import charts
from lidr.components.report.blocks import Chart, Section, Table, averaged, verdict
from lidr.components.report.charts import Series
from lidr.components.report.common_languages import (
    average_over,
    averages_note,
    common_languages,
    paired_items,
)
from lidr.components.report.comparison import (
    Evaluated,
    evaluated,
    gain_section,
    gain_title,
    gains_of,
    scores,
)
from lidr.components.report.durations import StageDuration, durations_of, total
from lidr.components.report.flips import flips
from lidr.components.report.history import Counts, Round, final_round
from lidr.components.report.html import page
from lidr.components.report.outcomes import NARROW, WIDE
from lidr.components.report.rows import extent
from lidr.components.report.runs import Run
from lidr.components.report.svg import Heading, rounded_domain
from lidr.components.report.words import (
    duration,
    hours,
    language,
    listed,
    literal,
    model,
    number,
    percent,
)
from lidr.components.shared.config.load import flatten
from lidr.components.shared.config.recipe import Languages, Recipe
from lidr.components.shared.stats.paired import PairedItems

_NAMES = ("A", "B")


def render_two_runs(first: Run, second: Run) -> str:
    """Return the page as HTML; everything that came from a model or a recipe is escaped.

    Args:
        first: the run labelled A.
        second: the run labelled B, whose gains over A are shown.
    """
    settings = _with_all_languages(first, second)
    codes, left_out = common_languages(first, second)
    runs = (average_over(codes, first), average_over(codes, second))
    finals = [final_round(run.rounds) for run in runs]
    models = [
        _evaluated(name, run, item) for name, run, item in zip(_NAMES, runs, finals, strict=True)
    ]
    paired = paired_items(*models)
    shared = any(code in paired for code in codes)
    gains = gains_of(settings, paired, codes) if shared else {}
    sections = [
        replace(section, lede=f"{section.lede} {averages_note(codes, left_out)}".rstrip())
        for section in _score_sections(settings, runs, models, gains)
    ]
    return page(
        product="lidr report",
        name=f"{first.name} – {second.name}",
        title=gain_title(gains["mean_gain"]) if gains else _title(finals, codes, left_out),
        subtitle="The last promoted model of each run, and how the run got there.",
        facts=[
            (name, literal(f"{run.name} ({item.name})"))
            for name, run, item in zip(_NAMES, runs, finals, strict=True)
        ],
        sections=[*sections, *_further_sections(settings, runs, models, paired)],
    )


def _with_all_languages(first: Run, second: Run) -> Recipe:
    """Return the first run's recipe with the languages of both."""
    own = first.settings.languages
    codes = dict.fromkeys((*own.others, *second.settings.languages.all))
    others = tuple(code for code in codes if code != own.dominant)
    languages = Languages(dominant=own.dominant, others=others)
    return first.settings.model_copy(update={"languages": languages})


def _evaluated(name: str, run: Run, item: Round) -> Evaluated:
    found = evaluated(name, f"{run.name} {item.name}", str(item.state["evaluation"]))
    return replace(found, counts=item.counts("evaluate"))


def _title(finals: Sequence[Round], codes: Sequence[str], left_out: Sequence[str]) -> str:
    if not codes:
        return "The two runs measured no other language in common."
    of_both = " that both runs measured" if left_out else ""
    averages = [percent(item.average["value"]) for item in finals]
    return f"Average of the other languages{of_both}: A {averages[0]}, B {averages[1]}."


def _score_sections(
    settings: Recipe, runs: tuple[Run, Run], models: Sequence[Evaluated], gains: Counts
) -> list[Section]:
    """Return the sections with averages."""
    found = [_paths(runs), scores(settings, models)]
    return [*found, gain_section(settings, _NAMES, gains)] if gains else found


def _further_sections(
    settings: Recipe,
    runs: tuple[Run, Run],
    models: Sequence[Evaluated],
    paired: Mapping[str, PairedItems],
) -> list[Section]:
    shown = [
        _not_compared(settings, models, paired),
        flips(settings.languages, models[0].items, models[1].items, _NAMES),
        _recipes(runs),
        _yields(runs),
        _times(runs),
    ]
    return [section for section in shown if section is not None]


def _not_compared(
    settings: Recipe, models: Sequence[Evaluated], paired: Mapping[str, PairedItems]
) -> Section | None:
    """Return a section on languages without a gain: only one run has them, or items differ."""
    first, second = (set(each.counts["languages"]) for each in models)
    codes = settings.languages.all
    once = [language(code) for code in codes if code in first ^ second]
    others = [language(code) for code in codes if code in first & second and code not in paired]
    said = []
    if others:
        said.append(
            f"In {listed(others)} the two runs were evaluated on different items: their scores "
            "are above, but the difference has no paired interval."
        )
    if once:
        said.append(f"Only one of the runs was evaluated in {listed(once)}.")
    return Section("without", "Not compared item by item", " ".join(said)) if said else None


def _paths(runs: tuple[Run, Run]) -> Section:
    longest = max(len(run.rounds) for run in runs)
    drawn = longest > 1 and runs[0].rounds[0].average["n"]
    return Section(
        "paths",
        "By iteration",
        "Average of the other languages, iteration by iteration, with 95% intervals.",
        charts=[_path_chart(runs, longest)] if drawn else [],
        tables=[
            Table(
                "Average of the other languages, and the gate's decision",
                ["Model", *(f"{what}, {name}" for name in _NAMES for what in ("Average", "Gate"))],
                [
                    [model(t), *(cell for run in runs for cell in _average_and_gate(run, t))]
                    for t in range(longest)
                ],
            )
        ],
    )


def _path_chart(runs: tuple[Run, Run], longest: int) -> Chart:
    values = [[item.average for item in run.rounds] for run in runs]
    low, high = rounded_domain(*extent(value for row in values for value in row))
    series = [
        Series(name, kind, shape, row, percent(row[-1]["value"]))
        for name, kind, shape, row in zip(_NAMES, ("first", "second"), (0, 1), values, strict=True)
    ]
    described = "; ".join(
        f"{each.label}: {', '.join(percent(value['value']) for value in row)}"
        for each, row in zip(series, values, strict=True)
    )
    title, columns = "Average of the other languages by iteration", list(map(model, range(longest)))
    domain = max(low, 0.0), min(high, 1.0)
    wide, narrow = (
        charts.over_iterations(Heading(identity, title, described), columns, series, size, domain)
        for identity, size in (("paths", WIDE), ("paths-narrow", NARROW))
    )
    return Chart("", wide, narrow)


def _average_and_gate(run: Run, t: int) -> list[str]:
    if t >= len(run.rounds):
        return ["–", "–"]
    item = run.rounds[t]
    average = averaged(item.counts("evaluate")) if item.average["n"] else "–"
    return [average, verdict(item)]


def _recipes(runs: tuple[Run, Run]) -> Section:
    first, second = (flatten(run.settings.model_dump(mode="json")) for run in runs)
    keys = [key for key in dict.fromkeys((*first, *second)) if first.get(key) != second.get(key)]
    return Section(
        "recipes",
        "Settings that differ",
        f"Keys of the recipes that differ: {number(len(keys))}."
        if keys
        else "The recipes are identical.",
        tables=[
            Table(
                "Recipes, key by key",
                ["Key", *_NAMES],
                [[key, *(_value(flat, key) for flat in (first, second))] for key in keys],
                wordy=True,
            )
        ]
        if keys
        else [],
    )


def _value(flat: Counts, key: str) -> str:
    return literal(str(flat[key])) if key in flat else "absent"


def _yields(runs: tuple[Run, Run]) -> Section | None:
    longest = max(len(run.rounds) for run in runs)
    if longest == 1:
        return None
    head = [f"{what}, {name}" for name in _NAMES for what in ("Pairs", "Identical")]
    return Section(
        "yields",
        "Pairs",
        "What each iteration learnt from.",
        tables=[
            Table(
                "Pairs kept of the candidates; share of identical sides among candidates with both",
                ["Model", *head],
                [
                    [model(t), *(cell for run in runs for cell in _pair_counts(run, t))]
                    for t in range(1, longest)
                ],
            )
        ],
    )


def _pair_counts(run: Run, t: int) -> list[str]:
    counts = run.rounds[t].counts("pair") if t < len(run.rounds) else {}
    if not counts:
        return ["–", "–"]
    kept = f"{number(counts['pairs'])} of {number(counts['candidates'])}"
    return [kept, percent(counts["identical_share"])]


def _times(runs: tuple[Run, Run]) -> Section:
    times = [durations_of(run.rounds) for run in runs]
    steps = dict.fromkeys(each.step for run in times for each in run)
    return Section(
        "times",
        "Time",
        "Time of all stages, whichever run made them; a stage that both runs share counts in both.",
        tables=[
            Table(
                "Time and GPU hours by step",
                ["Step", *(f"{what}, {name}" for name in _NAMES for what in ("Time", "GPU hours"))],
                [
                    *([step, *_totals(times, step)] for step in steps),
                    ["All", *_totals(times, "")],
                ],
            )
        ],
    )


def _totals(times: Sequence[Sequence[StageDuration]], step: str) -> list[str]:
    sums = [total([each for each in run if step in ("", each.step)]) for run in times]
    return [cell for seconds, gpus in sums for cell in (duration(seconds), hours(gpus))]
