"""The page on a registered model: all its runs on a store, their versions over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lidr.components.report.blocks import Chart, Figure, Section, Table, averaged, verdict
from lidr.components.report.curves import training
from lidr.components.report.durations import StageDuration, durations_of, throughput, total
from lidr.components.report.flips import flips_between
from lidr.components.report.history import Round, final_round
from lidr.components.report.html import page
from lidr.components.report.imbalance import Column, imbalance
from lidr.components.report.models_table import versions as libraries
from lidr.components.report.page import CAVEAT
from lidr.components.report.rows import ReportRow, dots
from lidr.components.report.runs import Run
from lidr.components.report.samples import samples
from lidr.components.report.svg import rounded_domain
from lidr.components.report.words import duration, hours, literal, number, percent, points
from lidr.components.shared.config.recipe import Languages

_MAX_DETAILED_RUNS = 4
"""Runs, the last ones, whose flipped items, training and pairs are shown: they share the room."""


@dataclass(frozen=True, slots=True)
class _Version:
    """A version: the run and iteration that made it first."""

    name: str
    run: Run
    item: Round
    roles: Sequence[str]


def render_family(
    model: str,
    runs: Sequence[Run],
    unread: Sequence[str],
    aliases: Mapping[str, Sequence[str]],
    unknown: str,
) -> str:
    """Return the page as HTML; everything that came from a model or a recipe is escaped.

    Args:
        model: the registered model's name.
        runs: its runs in the order they ended, one at least.
        unread: what could not be read of others.
        aliases: of each version, as `aliases_of` gives them.
        unknown: why aliases are not known, or "".
    """
    runs = [_labelled(run, f"R{place}") for place, run in enumerate(runs, start=1)]
    rounds = [item for run in runs for item in run.rounds]
    made = _versions(runs, aliases)
    times = durations_of(rounds)
    return page(
        product="lidr report",
        name=model,
        title=_title(model, runs, made),
        subtitle=_subtitle(runs, unknown),
        figures=_figures(runs, made, times),
        sections=_sections(runs, unread, made, times),
        notes=[
            CAVEAT if all(run.settings.is_toy for run in runs) else "",
            libraries(rounds),
        ],
    )


def _labelled(run: Run, label: str) -> Run:
    rounds = [replace(item, label=label) for item in run.rounds]
    return replace(run, rounds=rounds)


def _versions(runs: Sequence[Run], aliases: Mapping[str, Sequence[str]]) -> list[_Version]:
    """Return the versions by number, each with the run that came to it first."""
    found: dict[tuple[str, str], _Version] = {}
    for run in runs:
        for item in run.rounds:
            name = str(item.state["version"]) or item.model
            version = _Version(name, run, item, aliases.get(name, ()))
            found.setdefault((name, item.model), version)
    return sorted(found.values(), key=lambda each: _number(each.name))


def _number(version: str) -> tuple[int, str]:
    last = version.rpartition("/")[2]
    return (int(last), version) if last.isdigit() else (1 << 31, version)


def _title(model: str, runs: Sequence[Run], made: Sequence[_Version]) -> str:
    final = final_round(runs[-1].rounds)
    champion = next((each for each in made if "champion" in each.roles), None)
    item, what = (champion.item, "the champion") if champion else (final, "the last run's model")
    several = f"{number(len(runs))} runs" if len(runs) > 1 else "one run"
    return f"{model}: {several}; {what} reaches {percent(item.average['value'])} on average."


def _subtitle(runs: Sequence[Run], unknown: str) -> str:
    roles = f" Roles of versions are not known: {unknown}." if unknown else ""
    recent = f" Items, training and pairs are those of the last {_MAX_DETAILED_RUNS} runs."
    return (
        f"R1 is the run that ended first, R{len(runs)} the last one."
        f"{recent if len(runs) > _MAX_DETAILED_RUNS else ''}{roles}"
    )


def _figures(
    runs: Sequence[Run], made: Sequence[_Version], times: Sequence[StageDuration]
) -> list[Figure]:
    best = max(made, key=lambda each: each.item.average["value"])
    seconds, gpu_seconds = total(times)
    return [
        Figure("Runs", number(len(runs)), runs[-1].finished[:10] or "no dates on the store"),
        Figure("Versions", number(len(made)), "each counted once"),
        Figure("Best average", percent(best.item.average["value"]), best.name),
        Figure(
            "Work",
            duration(seconds),
            f"{hours(gpu_seconds)} GPU hours" if gpu_seconds else "no step saw a GPU",
        ),
    ]


def _sections(
    runs: Sequence[Run],
    unread: Sequence[str],
    made: Sequence[_Version],
    times: Sequence[StageDuration],
) -> list[Section]:
    languages = _languages(runs)
    recent = [item for run in runs[-_MAX_DETAILED_RUNS:] for item in run.rounds]
    columns = [
        Column(each.item.name, each.item, each.run.settings.languages.dominant) for each in made
    ]
    compared = [
        (run.rounds[0], final)
        for run in runs[-_MAX_DETAILED_RUNS:]
        if (final := final_round(run.rounds)) is not run.rounds[0]
    ]
    found = [
        _runs(runs, unread),
        _over_time(made),
        imbalance(languages, columns),
        *flips_between(languages, compared),
        training(recent),
        samples(languages, recent, "../"),
        throughput([item for run in runs for item in run.rounds], times),
    ]
    return [section for section in found if section is not None]


def _languages(runs: Sequence[Run]) -> Languages:
    """Return all languages of all runs; the last run's dominant one names the map."""
    dominant = runs[-1].settings.languages.dominant
    codes = dict.fromkeys(code for run in reversed(runs) for code in run.settings.languages.all)
    return Languages(dominant=dominant, others=tuple(code for code in codes if code != dominant))


def _runs(runs: Sequence[Run], unread: Sequence[str]) -> Section:
    warnings = [f"A run is left out: {reason}." for reason in unread]
    if len({(run.settings.evaluation.tasks, run.settings.languages) for run in runs}) > 1:
        warnings.append(
            "Not all runs have the same tasks and languages; averages differ in what they are over."
        )
    return Section(
        "runs",
        "Runs",
        "From the start to the last promoted model, average of the other languages.",
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


def _over_time(made: Sequence[_Version]) -> Section:
    lines = [
        ReportRow(f"{place}: {each.item.name}", "mean", 3, average, percent(average["value"]))
        for each in made
        for place, average in [(each.name.rpartition("/")[2], each.item.average)]
    ]
    low, high = (choose(row.value[key] for row in lines) for choose, key in _ENDS)
    described = "; ".join(f"{row.label} {row.written}" for row in lines)
    title = "Average of the other languages by version, in percent"
    image = dots("versions-chart", title, described, lines, rounded_domain(low, high), {})
    return Section(
        "versions",
        "Versions",
        "Every version, the oldest first, with the run that came to it first.",
        charts=[Chart(title, image)],
        tables=[
            Table(
                "Versions",
                ["Version", "Roles", "Model", "Ended (UTC)", "Gate", "Average, 95% interval"],
                [_version_line(each) for each in made],
            )
        ],
    )


def _version_line(each: _Version) -> list[str]:
    state = each.item.state
    return [
        each.name,
        ", ".join(each.roles) or "–",
        each.item.name,
        str(state.get("finished", ""))[:16].replace("T", " ") or "–",
        verdict(each.item),
        averaged(each.item.counts("evaluate")),
    ]


_ENDS = ((min, "low"), (max, "high"))
