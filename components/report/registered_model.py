"""The page on a registered model: all its runs on a store, and its versions over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lidr.components.report.blocks import Chart, KeyFigure, Section, Table, averaged, verdict
from lidr.components.report.curves import training
from lidr.components.report.durations import StageDuration, durations_of, throughput, total
from lidr.components.report.flips import flips_between
from lidr.components.report.history import Round, final_round
from lidr.components.report.html import page
from lidr.components.report.imbalance import imbalance
from lidr.components.report.models_table import library_versions
from lidr.components.report.page import CAVEAT
from lidr.components.report.rows import ReportRow, dots, extent, in_words
from lidr.components.report.runs import Run
from lidr.components.report.samples import samples
from lidr.components.report.svg import Heading, rounded_domain
from lidr.components.report.words import (
    duration,
    hours,
    language,
    listed,
    literal,
    number,
    percent,
    points,
)
from lidr.components.shared.config.recipe import Languages

_MAX_DETAILED_RUNS = 4
"""How many of the last runs show flipped items, training and pairs: the page's size is limited."""


@dataclass(frozen=True, slots=True)
class _Version:
    """A version, with the run and the iteration that made it first."""

    name: str
    run: Run
    item: Round
    aliases: Sequence[str]


def render_model(
    model: str,
    runs: Sequence[Run],
    unread: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
    aliases_problem: str,
) -> str:
    """Return the page as HTML; everything that came from a model or a recipe is escaped.

    Args:
        model: the registered model's name.
        runs: its runs in the order they ended, at least one.
        unread: for each run that could not be read, its name and the reason.
        aliases: of each version, as `aliases_of` returns them.
        aliases_problem: why aliases are not known, or "".
    """
    runs = [_labelled(run, f"R{place}") for place, run in enumerate(runs, start=1)]
    rounds = [item for run in runs for item in run.rounds]
    versions = _versions(runs, aliases)
    times = durations_of(rounds)
    return page(
        product="lidr report",
        name=model,
        title=_title(model, runs, versions),
        subtitle=_subtitle(runs, aliases_problem),
        figures=_figures(runs, versions, times),
        sections=_sections(runs, unread, versions, times),
        notes=[
            CAVEAT if all(run.settings.is_toy for run in runs) else "",
            library_versions(rounds),
        ],
    )


def _labelled(run: Run, label: str) -> Run:
    rounds = [replace(item, label=label) for item in run.rounds]
    return replace(run, rounds=rounds)


def _versions(runs: Sequence[Run], aliases: Mapping[str, Sequence[str]]) -> list[_Version]:
    """Return the versions in order, each with the run that made it first."""
    found: dict[tuple[str, str], _Version] = {}
    for run in runs:
        for item in run.rounds:
            name = str(item.state["version"]) or item.model
            version = _Version(name, run, item, aliases.get(name, ()))
            found.setdefault((name, item.model), version)
    return sorted(found.values(), key=lambda each: _version_order(each.name))


def _version_order(version: str) -> tuple[int, str]:
    last = version.rpartition("/")[2]
    return (int(last), version) if last.isdigit() else (1 << 31, version)


def _title(model: str, runs: Sequence[Run], versions: Sequence[_Version]) -> str:
    final = final_round(runs[-1].rounds)
    champion = next((each for each in versions if "champion" in each.aliases), None)
    item, what = (champion.item, "the champion") if champion else (final, "the last run's model")
    several = f"{number(len(runs))} runs" if len(runs) > 1 else "one run"
    return f"{model}: {several}; {what} reaches {percent(item.average['value'])} on average."


def _subtitle(runs: Sequence[Run], aliases_problem: str) -> str:
    aliases = f" Aliases of versions are not known: {aliases_problem}." if aliases_problem else ""
    recent = f" Flipped items, training and pairs are those of the last {_MAX_DETAILED_RUNS} runs."
    order = f"R1 is the run that ended first, R{len(runs)} the last one."
    first = order if len(runs) > 1 else ""
    return f"{first}{recent if len(runs) > _MAX_DETAILED_RUNS else ''}{aliases}".lstrip()


def _figures(
    runs: Sequence[Run], versions: Sequence[_Version], times: Sequence[StageDuration]
) -> list[KeyFigure]:
    alike = [each for each in versions if _measure(each.run) == _measure(runs[-1])]
    # `alike` is empty if runs with another evaluation made all the last run's models first.
    best = max(alike or versions, key=lambda each: each.item.average["value"])
    seconds, gpu_seconds = total(times)
    return [
        KeyFigure("Runs", number(len(runs)), runs[-1].finished[:10] or "no dates on the store"),
        KeyFigure("Versions", number(len(versions)), "each counted once"),
        KeyFigure("Best average", percent(best.item.average["value"]), best.name),
        KeyFigure(
            "Work",
            duration(seconds),
            f"{hours(gpu_seconds)} GPU hours" if gpu_seconds else "no step saw a GPU",
        ),
    ]


def _sections(
    runs: Sequence[Run],
    unread: Sequence[str],
    versions: Sequence[_Version],
    times: Sequence[StageDuration],
) -> list[Section]:
    languages = _languages(runs)
    recent = [item for run in runs[-_MAX_DETAILED_RUNS:] for item in run.rounds]
    compared_with_dominant = [
        each.item for each in versions if each.run.settings.languages.dominant == languages.dominant
    ]
    compared = [
        (run.rounds[0], final)
        for run in runs[-_MAX_DETAILED_RUNS:]
        if (final := final_round(run.rounds)) is not run.rounds[0]
    ]
    found = [
        _run_section(runs, unread),
        _version_section(versions),
        imbalance(languages, compared_with_dominant),
        *flips_between(languages, compared),
        training(recent),
        samples(languages, recent, "../"),
        throughput([item for run in runs for item in run.rounds], times),
    ]
    return [section for section in found if section is not None]


def _languages(runs: Sequence[Run]) -> Languages:
    """Return the languages of all runs, with the last run's dominant one."""
    dominant = runs[-1].settings.languages.dominant
    codes = dict.fromkeys(code for run in reversed(runs) for code in run.settings.languages.all)
    return Languages(dominant=dominant, others=tuple(code for code in codes if code != dominant))


def _measure(run: Run) -> tuple[object, ...]:
    """Return what runs must have in common for their averages to be comparable."""
    settings, languages = run.settings, run.settings.languages
    evaluation = settings.evaluation.model_dump_json()
    return evaluation, settings.items_per_task, languages.dominant, frozenset(languages.others)


def _run_section(runs: Sequence[Run], unread: Sequence[str]) -> Section:
    warnings = [f"A run is left out: {reason}." for reason in unread]
    leaders = dict.fromkeys(run.settings.languages.dominant for run in runs)
    if len(leaders) > 1:
        warnings.append(
            f"The runs have different dominant languages ({listed(list(map(language, leaders)))}); "
            "the imbalance map shows only runs with the same one as the last run."
        )
    if len(set(map(_measure, runs))) > 1:
        warnings.append(
            "Not all runs have the same languages and evaluation, so their averages may not be "
            "comparable."
        )
    return Section(
        "runs",
        "Runs",
        "The average of the other languages, at the start and with the last promoted model.",
        warnings=warnings,
        tables=[
            Table(
                "Runs in the order they ended",
                ["Run", "Ended (UTC)", "Seed", "Iterations", "Start", "End", "Gain", "Name"],
                [_run_line(run) for run in runs],
            )
        ],
    )


def _run_line(run: Run) -> list[str]:
    first, final = run.rounds[0], final_round(run.rounds)
    return [
        first.label,
        run.finished[:16].replace("T", " ") or "–",
        str(run.settings.seed),
        number(len(run.rounds) - 1),
        percent(first.average["value"]),
        percent(final.average["value"]),
        points(final.average["value"] - first.average["value"]),
        literal(run.name),
    ]


def _version_section(versions: Sequence[_Version]) -> Section:
    lines = [
        ReportRow(f"{place}: {each.item.name}", "mean", 3, average, percent(average["value"]))
        for each in versions
        for place, average in [(each.name.rpartition("/")[2], each.item.average)]
    ]
    domain = rounded_domain(*extent(row.value for row in lines))
    title = "Average of the other languages by version, in percent"
    image = dots(Heading("versions-chart", title, in_words(lines)), lines, domain)
    return Section(
        "versions",
        "Versions",
        "Every version by its number, with the run that made it first.",
        charts=[Chart(title, image)],
        tables=[
            Table(
                "Versions",
                ["Version", "Aliases", "Model", "Ended (UTC)", "Gate", "Average, 95% interval"],
                [_version_line(each) for each in versions],
            )
        ],
    )


def _version_line(each: _Version) -> list[str]:
    state = each.item.state
    return [
        each.name,
        ", ".join(each.aliases) or "–",
        each.item.name,
        str(state.get("finished", ""))[:16].replace("T", " ") or "–",
        verdict(each.item),
        averaged(each.item.counts("evaluate")),
    ]
